/** What a shared library says of itself. */
export interface ElfInfo {
  /** Node's name of the architecture, or `machine-N`. */
  arch: string;
  soname: string | undefined;
  /** Names of the libraries it needs, in order. */
  needed: string[];
  /** Its RPATH or RUNPATH, split, with `$ORIGIN` left in. */
  searchPath: string[];
}

/** Reads the dynamic section of a 64-bit little-endian ELF file. */
export function readElf(file: string): ElfInfo;
