/** The request was wrong; said to whoever asked. */
export class BadRequest extends Error {
  override readonly name = "BadRequest";
}
