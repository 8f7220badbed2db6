/** What a parser returns: the value, or the reason there is none, fit to be shown to whoever wrote the text. */
export type Parsed<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: string };

export function good<T>(value: T): Parsed<T> {
  return { ok: true, value };
}

export function bad<T = never>(error: string): Parsed<T> {
  return { ok: false, error };
}
