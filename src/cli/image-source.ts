/** The image that a person names: a layout folder, or a registry's reference. */
import { existsSync, statSync } from 'node:fs'
import { MusterError } from '../errors.ts'
import { openLayout } from '../oci/layout.ts'
import { parseReference } from '../oci/reference.ts'
import type { ImageName, ImageSource } from '../oci/source.ts'
import type { Context } from './context.ts'
import { printable } from './output.ts'

/** A folder when there is one of that name, and otherwise a reference: `./os` can only be a folder. */
export async function openSource(
  context: Context,
  text: string,
): Promise<{ source: ImageSource; name: ImageName }> {
  const [, folder = text, tag] = /^(.+):([A-Za-z0-9_][A-Za-z0-9._-]{0,127})$/.exec(text) ?? []
  if (isFolder(text)) return { source: await openLayout({ path: text }), name: {} }
  if (tag !== undefined && isFolder(folder))
    return { source: await openLayout({ path: folder }), name: { tag } }
  if (/^[./~]/.test(text))
    throw new MusterError(
      'layout-invalid',
      `There is no folder ${text}; 'skopeo copy … oci:<folder>' makes one.`,
    )
  const [host = '', ...rest] = text.split('/')
  // A folder that is not there, or mistyped, would end at a registry that nobody meant.
  if (rest.length === 0 || !/[.:]|^localhost$/.test(host))
    context
      .output()
      .note(`note: there is no folder ${printable(text)} here, so it is taken for an image of Docker Hub.\n`)
  const { registry, name, tag: named, digest } = parseReference(text)
  return {
    source: context.world.registry(context.loaded()).repository({ registry, name }),
    name: { ...(named === undefined ? {} : { tag: named }), ...(digest === undefined ? {} : { digest }) },
  }
}

function isFolder(path: string): boolean {
  return existsSync(path) && statSync(path).isDirectory()
}
