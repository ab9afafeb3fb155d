// backoff.ts: how long to wait before the next try: at random up to a bound that doubles, so that many pages don't come back at once.

export const BACKOFF_FIRST_MS = 1000;
export const BACKOFF_MOST_MS = 30_000;

export function backoff(tries: number, chance: number): number {
  const bound = Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** Math.min(tries, 16));
  // The first try after a break comes soon; later ones never at once.
  return Math.round(tries === 0 ? 50 + chance * 450 : bound / 4 + chance * bound * 0.75);
}
