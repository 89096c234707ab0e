import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { checkFiles } from '../../src/agent/cpio.ts'
import { type Cluster, parseCluster, renderCluster, showCluster } from '../../src/cluster/cluster.ts'
import { createClusters } from '../../src/cluster/clusters.ts'
import { encodeYamlString } from '../../src/cluster/template.ts'
import { silentLog } from '../../src/log.ts'
import { openDatabase } from '../../src/store/database.ts'

const kubeadm = `# joins {{machine.name}}
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  file: {kubeConfigPath: /muster/discovery.conf}
  tlsBootstrapToken: {{secret.bootstrap}}
nodeRegistration:
  name: {{machine.name}}
  criSocket: unix:///run/containerd/containerd.sock
  taints: []
  kubeletExtraArgs:
    - {name: provider-id, value: "muster://{{machine.id}}"}
    - name: node-labels
      value: rack={{label.rack}}
    - name: mode
      value: 0644
`
const k3s = `server: https://10.0.0.1:6443
token: {{secret.bootstrap}}
node-name: {{machine.name}}
node-label:
  - rack={{label.rack}}
---
note: |
  first {{label.rack}}
  second
last: true
`
const secrets = { bootstrap: { value: 'abcdef.0123456789abcdef', allowUnattested: true } }
const edge = {
  name: 'edge',
  kind: 'static',
  files: [
    { name: 'kubeadm.yaml', mode: '0600', template: kubeadm },
    { name: 'config.yaml', template: k3s },
    { name: 'rack', mode: '0644', format: 'text', template: 'rack {{label.rack}}\n' },
  ],
  secrets,
}
const machine = { id: 'm-abcdefghijklmnop', name: 'edge-0001', labels: { rack: 'a1' } }
const textOf = (cluster: Cluster, name: string, labels: Record<string, string> = machine.labels) =>
  Buffer.from(
    renderCluster(cluster, { ...machine, labels }).find((file) => file.name === name)?.bytes ?? '',
    'base64',
  ).toString()
const one = (template: string, more: object = {}) =>
  parseCluster({ name: 'one', kind: 'static', files: [{ name: 'f', template, ...more }], secrets })

describe('the files of a static cluster', () => {
  test('are a kubeadm JoinConfiguration with the names of the machine, all else byte for byte', () => {
    const text = textOf(parseCluster(edge), 'kubeadm.yaml')
    expect(text).toBe(
      kubeadm
        .replace('tlsBootstrapToken: {{secret.bootstrap}}', 'tlsBootstrapToken: "abcdef.0123456789abcdef"')
        .replace('  name: {{machine.name}}', '  name: "edge-0001"')
        .replace('{{machine.id}}', machine.id)
        .replace('rack={{label.rack}}', '"rack=a1"'),
    )
  })

  test('are a k3s config.yaml', () => {
    expect(parse(textOf(parseCluster(edge), 'config.yaml').split('---')[0] as string)).toEqual({
      server: 'https://10.0.0.1:6443',
      token: 'abcdef.0123456789abcdef',
      'node-name': 'edge-0001',
      'node-label': ['rack=a1'],
    })
    expect(parse(textOf(parseCluster(edge), 'config.yaml').split('---')[1] as string)).toEqual({
      note: 'first a1\nsecond\n',
      last: true,
    })
  })

  test('have the rights that were asked for, or 0600', () => {
    const modes = renderCluster(parseCluster(edge), machine).map((file) => file.mode)
    expect(modes).toEqual([0o600, 0o600, 0o644])
  })

  test('are not made when a label is missing', () => {
    expect(() => textOf(parseCluster(edge), 'config.yaml', {})).toThrow(
      expect.objectContaining({
        code: 'label-missing',
        message: expect.stringContaining("'muster machine label edge-0001 rack=VALUE'"),
        details: { cluster: 'edge', labels: ['rack'] },
      }),
    )
    expect(() => textOf(one('a: {{label.constructor}}'), 'f', {})).toThrow(
      expect.objectContaining({ code: 'label-missing' }),
    )
  })
})

describe('hostile labels', () => {
  const hostile = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 60 }),
    fc
      .array(
        fc.constantFrom(
          '"',
          "'",
          '\n',
          '\r',
          ': ',
          ' #',
          '- ',
          '{{secret.bootstrap}}',
          '\\',
          '\u2028',
          '\u0085',
          '\ufeff',
          '%',
          '&a',
          '*a',
          '!!int',
          '|',
          '> ',
          '---\n',
          '\t',
          '}',
          ']',
          ',',
          'a',
        ),
      )
      .map((parts) => parts.join('')),
  )

  test('change nothing but the value they stand in', () => {
    const cluster = parseCluster({ ...edge, files: edge.files.slice(0, 2) })
    fc.assert(
      fc.property(hostile, (rack) => {
        const [k, c] = [textOf(cluster, 'kubeadm.yaml', { rack }), textOf(cluster, 'config.yaml', { rack })]
        const args = parse(k).nodeRegistration.kubeletExtraArgs
        expect(Object.keys(parse(k))).toEqual(['apiVersion', 'kind', 'discovery', 'nodeRegistration'])
        expect(args[1].value).toBe(`rack=${rack}`)
        expect(args).toHaveLength(3)
        expect(c).toContain(encodeYamlString(`rack=${rack}`))
      }),
    )
  })

  test('of every character are read back as they were', () => {
    for (const rack of [
      'yes',
      'null',
      '1e3',
      '0644',
      '~',
      '',
      ' a ',
      '=',
      '😀',
      '\u0000\u007f\u0085\u2028\u2029\ufeff\ufffe',
    ])
      expect(parse(textOf(one('a: {{label.rack}}'), 'f', { rack }))).toEqual({ a: rack })
  })

  test('cannot carry a line break into a text file', () => {
    expect(() => textOf(parseCluster(edge), 'rack', { rack: 'a\nb' })).toThrow(
      expect.objectContaining({ code: 'cluster-invalid' }),
    )
  })

  test('are not templates themselves', () => {
    expect(textOf(parseCluster(edge), 'rack', { rack: '{{secret.bootstrap}}' })).toBe(
      'rack {{secret.bootstrap}}\n',
    )
  })
})

describe('a cluster is refused', () => {
  const file = { name: 'f', template: 'a: 1' }
  test.each([
    ['with a secret for machines that proved nothing', { secrets: { key: { value: 's3cr3t' } } }, "'key'"],
    [
      'with a placeholder that does not exist',
      { files: [{ name: 'f', template: 'a: {{machine.secret}}' }] },
      'machine.secret',
    ],
    [
      'with an expression',
      { files: [{ name: 'f', template: 'a: {{constructor.constructor("x")()}}' }] },
      'unknown',
    ],
    [
      'with a placeholder that never ends',
      { files: [{ name: 'f', template: 'a: {{machine.name' }] },
      'closed',
    ],
    ['with a placeholder in a key', { files: [{ name: 'f', template: '{{machine.name}}: a' }] }, 'key'],
    ['with a placeholder in an anchor', { files: [{ name: 'f', template: 'a: &{{machine.name}} 1' }] }, 'f'],
    ['with a secret that is not there', { files: [{ name: 'f', template: 'a: {{secret.none}}' }] }, "'none'"],
    ['with broken YAML', { files: [{ name: 'f', template: 'a: [1' }] }, 'YAML'],
    ['with a file outside its folder', { files: [{ ...file, name: '../init' }] }, 'flat'],
    ['with a hidden file', { files: [{ ...file, name: '.profile' }] }, 'flat'],
    ["with Muster's own file", { files: [{ ...file, name: 'report.json' }] }, 'report.json'],
    ['with a file that would be setuid', { files: [{ ...file, mode: 0o4755 }] }, 'mode'],
    ['with a name that no agent writes', { files: [{ ...file, name: '_f' }] }, 'the first a letter or digit'],
    ['with a name that is too long', { files: [{ ...file, name: 'f'.repeat(65) }] }, 'at most 64'],
    ['with a file that others may write', { files: [{ ...file, mode: '0664' }] }, 'mode 664 has more'],
    ['with the same as a number', { files: [{ ...file, mode: 0o666 }] }, 'mode 666 has more'],
    ['with rights that YAML took for a decimal number', { files: [{ ...file, mode: 640 }] }, 'in quotes'],
    ['with rights that are no octal number', { files: [{ ...file, mode: 'rw' }] }, "such as '0600'"],
    ['with two files of one name', { files: [file, file] }, "two files are called 'f'"],
    ['of a kind that does not exist', { kind: 'nomad' }, 'kind'],
  ])('%s', (_, more, part) => {
    const attempt = () => parseCluster({ name: 'x', kind: 'static', files: [file], ...more })
    expect(attempt).toThrow(
      expect.objectContaining({ code: 'cluster-invalid', message: expect.stringContaining(part) }),
    )
    expect(attempt).not.toThrow(expect.objectContaining({ message: expect.stringContaining('s3cr3t') }))
  })
})

test('every file that a cluster may have is one that an agent writes', () => {
  const files = fc.record({
    name: fc.oneof(fc.string({ unit: 'binary' }), fc.stringMatching(/^[A-Za-z0-9._-]{1,70}$/)),
    mode: fc.oneof(fc.integer(), fc.integer({ min: 0, max: 0o777 }), fc.stringMatching(/^0?[0-7]{3}$/)),
    template: fc.constant('a: 1'),
  })
  fc.assert(
    fc.property(files, (file) => {
      let cluster: Cluster
      try {
        cluster = parseCluster({ name: 'x', kind: 'static', files: [file] })
      } catch {
        return
      }
      expect(() => checkFiles(renderCluster(cluster, machine))).not.toThrow()
    }),
  )
})

describe('the clusters of a server', () => {
  test('are kept, shown without their secrets, rendered with them, and removed', async () => {
    await using database = await openDatabase({ path: ':memory:', log: silentLog })
    const clusters = createClusters({ database, now: () => new Date(0), log: silentLog })
    await clusters.put(edge)
    const shown = JSON.stringify([
      await clusters.list(),
      await clusters.get('edge'),
      showCluster(parseCluster(edge)),
    ])
    expect(shown).toContain('allowUnattested')
    expect(shown).not.toContain(secrets.bootstrap.value)
    const [file] = await clusters.render('edge', machine)
    expect(Buffer.from(file?.bytes ?? '', 'base64').toString()).toContain(secrets.bootstrap.value)
    expect(await clusters.has('edge')).toBe(true)
    await clusters.remove('edge')
    await expect(clusters.get('edge')).rejects.toMatchObject({ code: 'cluster-not-found' })
    await expect(clusters.remove('edge')).rejects.toMatchObject({ code: 'cluster-not-found' })
  })

  test('are shown as people write them, and set again by what was shown, with the secrets they had', async () => {
    await using database = await openDatabase({ path: ':memory:', log: silentLog })
    const clusters = createClusters({ database, now: () => new Date(0), log: silentLog })
    await clusters.put(edge)
    const before = await clusters.render('edge', machine)
    const shown = await clusters.get('edge')
    expect(shown.files.map(({ mode }) => mode)).toEqual(['0600', '0600', '0644'])
    expect(await clusters.put(structuredClone(shown))).toEqual(shown)
    expect(await clusters.render('edge', machine)).toEqual(before)

    // A value that is given replaces the one that is there; a secret that is left out is gone.
    const changed = { bootstrap: { ...secrets.bootstrap, value: 'another' } }
    await clusters.put({ ...shown, secrets: changed })
    expect(Buffer.from((await clusters.render('edge', machine))[0]!.bytes, 'base64').toString()).toContain(
      'another',
    )
    await clusters.put({ ...shown, files: [], secrets: {} })
    const gone = expect.stringContaining(
      'secrets.bootstrap.value: it is not there, and this cluster has none',
    )
    await expect(clusters.put(shown)).rejects.toMatchObject({ code: 'cluster-invalid', message: gone })
  })

  test('keep a secret only for the cluster and the name that have it', async () => {
    await using database = await openDatabase({ path: ':memory:', log: silentLog })
    const clusters = createClusters({ database, now: () => new Date(0), log: silentLog })
    await clusters.put(edge)
    const shown = await clusters.get('edge')
    for (const wrong of [
      { ...shown, name: 'other' },
      { ...shown, secrets: { ...shown.secrets, constructor: { allowUnattested: true } } },
      { ...shown, secrets: { bootstrap: null } },
      { ...shown, secrets: [] },
    ])
      await expect(clusters.put(wrong)).rejects.toMatchObject({ code: 'cluster-invalid' })
  })

  test('go on when one that an older version took is refused by this one', async () => {
    await using database = await openDatabase({ path: ':memory:', log: silentLog })
    const make = () => createClusters({ database, now: () => new Date(0), log: silentLog })
    await make().put(edge)
    const row = { name: 'old', document: '{"name":"old","kind":"of another time"}', updatedAt: 0 }
    await database.db.insertInto('clusters').values(row).execute()
    const clusters = make()
    expect((await clusters.list()).map(({ name }) => name)).toEqual(['edge'])
    await expect(clusters.get('old')).rejects.toMatchObject({ code: 'cluster-not-found' })
    // It can be mended by its name.
    await clusters.put({ ...edge, name: 'old' })
    expect((await clusters.list()).map(({ name }) => name)).toEqual(['edge', 'old'])
  })

  test('are bounded in number', async () => {
    await using database = await openDatabase({ path: ':memory:', log: silentLog })
    const clusters = createClusters({ database, now: () => new Date(0), log: silentLog, max: 1 })
    await clusters.put(edge)
    await clusters.put({ ...edge, files: [] })
    await expect(clusters.put({ ...edge, name: 'two' })).rejects.toMatchObject({ code: 'limit-reached' })
  })
})
