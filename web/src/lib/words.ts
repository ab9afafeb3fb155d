// words.ts: a command line as words, as a shell would split it: quotes and backslashes, nothing else. Pure.

export function splitWords(line: string): string[] {
  const words: string[] = [];
  let word: string | null = null;
  for (let i = 0; i < line.length; i++) {
    const c = line[i] as string;
    if (c === "'") {
      const end = line.indexOf("'", i + 1);
      if (end < 0) throw new Error("A quote ' is not closed.");
      word = (word ?? "") + line.slice(i + 1, end);
      i = end;
    } else if (c === '"') {
      word ??= "";
      for (i++; i < line.length && line[i] !== '"'; i++) {
        if (line[i] === "\\" && (line[i + 1] === '"' || line[i + 1] === "\\")) i++;
        word += line[i];
      }
      if (i >= line.length) throw new Error('A quote " is not closed.');
    } else if (c === "\\") {
      if (i + 1 >= line.length) throw new Error("A backslash at the end.");
      word = (word ?? "") + line[++i];
    } else if (/\s/.test(c)) {
      if (word !== null) words.push(word);
      word = null;
    } else {
      word = (word ?? "") + c;
    }
  }
  if (word !== null) words.push(word);
  return words;
}

export function joinWords(words: readonly string[]): string {
  return words.map((w) => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(w) ? w : `'${w.replace(/'/g, "'\\''")}'`)).join(" ");
}

// A batch: a JSON array, an object with tasks, one task, or one task a line.
export function parseBatch(text: string): unknown[] {
  const trimmed = text.trim();
  if (!trimmed) throw new Error("There is nothing in it.");
  let whole: unknown;
  try {
    whole = JSON.parse(trimmed);
  } catch (e) {
    const lines = trimmed.split("\n").map((l) => l.trim());
    if (lines.filter(Boolean).length < 2 || !lines[0]?.endsWith("}")) throw new Error(`This is no JSON: ${(e as Error).message}`);
    return lines.flatMap((line, i) => {
      if (!line) return [];
      try {
        return [JSON.parse(line) as unknown];
      } catch (e) {
        throw new Error(`Line ${i + 1} is no JSON: ${(e as Error).message}`);
      }
    });
  }
  if (Array.isArray(whole)) return whole;
  if (typeof whole !== "object" || whole === null) throw new Error("A task is an object: { … }.");
  const tasks = (whole as { tasks?: unknown }).tasks;
  return Array.isArray(tasks) ? tasks : [whole];
}
