// main.tsx: where the page begins.
import { render } from "preact";
import { App } from "./app";
import { watchTheme } from "./lib/theme";
import "./style/tokens.css";
import "./style/base.css";
import "./style/parts.css";

watchTheme();
const place = document.getElementById("page");
if (place) render(<App />, place);
