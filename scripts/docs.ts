/** `npm run docs`: writes the documents that are made from code. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { configKeys, configMember, environmentName } from '../src/config/load.ts'

export function configurationDocument(): string {
  const rows = configKeys().map((key) => {
    const member = configMember(key)
    const byDefault = member.safeParse(undefined)
    const value =
      byDefault.success && byDefault.data !== undefined ? `\`${JSON.stringify(byDefault.data)}\`` : ''
    return `| \`${key}\` | ${value} | \`${environmentName(key)}\` | ${(member.description ?? '').replaceAll('|', '\\|')} |`
  })
  return [
    '# Configuration',
    '',
    'Made by `npm run docs` from src/config/schema.ts. Later sources win: the default, `muster.yaml`, the environment, a flag',
    '(`--set key=value`, and the flags of `muster serve --help`). `muster config` prints what is in force and where each value',
    'comes from. In `muster.yaml` the parts of a key are nested:',
    '',
    '```yaml',
    'firmware:',
    '  port: 80',
    '```',
    '',
    'In a flag and the environment a list is written `a,b` or as JSON (`image.architectures=amd64,arm64`), and members by name are JSON.',
    '',
    '| key | default | environment | what it is |',
    '|---|---|---|---|',
    ...rows,
    '',
  ].join('\n')
}

if (import.meta.main) {
  const file = join(import.meta.dirname, '../docs/configuration.md')
  writeFileSync(file, configurationDocument())
  console.log(`wrote ${file}`)
}
