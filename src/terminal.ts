/**
 * What must not reach a terminal out of a stranger's text: whoever reads a log or a table would see something else than what is there, or
 * have the terminal do something. One rule for both. Pure.
 *
 *     U+0000–001F    controls, except tab and line break       U+007F–009F   DEL and C1, of which some terminals take one for an escape
 *     U+00AD         soft hyphen                               U+061C, 200E–200F, 202A–202E, 2066–2069   turn the direction of writing
 *     U+200B–200D, 2060–2065, 206A–206F, FEFF, FFF9–FFFB       have no width            U+2028–2029   line breaks for some
 */
const driving =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g

export function replaceDriving(text: string, by: (character: string) => string): string {
  return text.replace(driving, by)
}

/** As `\u202e`: in what stands in double quotes, in JSON as in YAML, reading it gives back what was there. */
export function escapeDriving(text: string): string {
  return replaceDriving(text, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
