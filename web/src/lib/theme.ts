// theme.ts: dark or light: as the system says, unless somebody chose.
export type Theme = "system" | "light" | "dark";
const KEPT = "berth.theme";

export function theme(): Theme {
  try {
    const kept = localStorage.getItem(KEPT);
    return kept === "light" || kept === "dark" ? kept : "system";
  } catch {
    return "system";
  }
}

export function isDark(): boolean {
  const t = theme();
  return t === "dark" || (t === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
}

const listeners = new Set<() => void>();

export function onTheme(call: () => void): () => void {
  listeners.add(call);
  return () => listeners.delete(call);
}

export function applyTheme(): void {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  for (const call of listeners) call();
}

export function setTheme(t: Theme): void {
  try {
    if (t === "system") localStorage.removeItem(KEPT);
    else localStorage.setItem(KEPT, t);
  } catch {
    // Then it holds until the reload only.
  }
  applyTheme();
}

export function watchTheme(): void {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
  applyTheme();
}
