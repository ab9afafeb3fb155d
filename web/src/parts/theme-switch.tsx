// theme-switch.tsx: dark, light, or as the system says: one button that goes around.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { setTheme, theme, type Theme } from "../lib/theme";
import { Moon, Screen, Sun } from "./icons";

const NEXT: Record<Theme, Theme> = { system: "dark", dark: "light", light: "system" };

export function ThemeSwitch(): JSX.Element {
  const [now, set] = useState(theme());
  const turn = () => {
    setTheme(NEXT[now]);
    set(NEXT[now]);
  };
  return (
    <button type="button" class="bare" onClick={turn} aria-label={`Colours: ${now}. Switch to ${NEXT[now]}.`} title={`Colours: ${now}`}>
      {now === "dark" ? <Moon /> : now === "light" ? <Sun /> : <Screen />}
    </button>
  );
}
