// log.ts: a task's output as it comes: parts with their offsets in bytes, from the file and from the stream. Pure.

export interface Log {
  text: string;
  end: number; // bytes that are in text (or were, before it was cut)
  gap: boolean; // the stream told of something later than the end: the file has what is between
  cut: boolean; // the beginning was let go
}

export const LOG_MOST = 1 << 20;
export const noLog: Log = { text: "", end: 0, gap: false, cut: false };

const encoder = new TextEncoder();

function limited(text: string, cut: boolean): { text: string; cut: boolean } {
  if (text.length <= LOG_MOST) return { text, cut };
  const from = text.indexOf("\n", text.length - LOG_MOST) + 1;
  return { text: text.slice(from || text.length - LOG_MOST), cut: true };
}

// A part of the file, from the log's end on.
export function fromFile(log: Log, text: string, bytes: number): Log {
  return { ...limited(log.text + text, log.cut), end: log.end + bytes, gap: false };
}

// A task.log event. Its text may be less than its bytes: then the file has the rest.
export function fromEvent(log: Log, offset: number, bytes: number, text: string): Log {
  if (offset + bytes <= log.end) return log;
  if (offset !== log.end || encoder.encode(text).length !== bytes) return { ...log, gap: true };
  return { ...limited(log.text + text, log.cut), end: offset + bytes, gap: false };
}
