export interface ZipEntry {
  /** Path inside the archive, with /. */
  name: string;
  /** Unpacked bytes. */
  size: number;
  compressed: number;
  crc: number;
  method: number;
  executable: boolean;
  /** Of the entry's local header. */
  offset: number;
}

/** The archive is cut short, or its content does not match its checksums. */
export class DamagedZip extends Error {}

export function listZip(file: string): Promise<ZipEntry[]>;
export function unpackZip(
  file: string,
  entries: ZipEntry[],
  directory: string,
  options?: {
    place?: (entry: ZipEntry) => { path: string; mode: number };
    onBytes?: (bytes: number) => void;
  },
): Promise<void>;
