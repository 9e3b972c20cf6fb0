export const RATIOS: Record<string, [string, string]>;
export function ratiosOf(
  rates: Readonly<Record<string, readonly number[]>>,
  absent: Readonly<Record<string, string>>,
): { ratios: Record<string, number | null>; reasons: Record<string, string> };
