// route.ts: addresses of the page: all behind '#', so that the server sees one address and a link can be passed on.

export interface Route {
  path: string[];
  query: Record<string, string>;
}

function plain(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#?\/?/, "").split("?", 2);
  const found: Record<string, string> = {};
  for (const [name, value] of new URLSearchParams(query)) found[name] = value;
  return { path: path.split("/").filter(Boolean).map(plain), query: found };
}

export function address(path: string[], query: Record<string, string | undefined> = {}): string {
  const pairs = Object.entries(query).filter((pair): pair is [string, string] => !!pair[1]);
  return "#/" + path.map(encodeURIComponent).join("/") + (pairs.length ? "?" + new URLSearchParams(pairs).toString() : "");
}
