// Turns the plan's file report.json into what curl reads. For QuickJS: `qjs --module report.js`.
// biome-ignore lint/style/useNodejsImportProtocol: QuickJS's module of that name, not Node's
import * as os from 'os'
import * as std from 'std'

const report = JSON.parse(std.loadFile('/muster/report.json') ?? '')
for (const name of ['url', 'pin', 'boot', 'token'])
  if (typeof report[name] !== 'string' || /[\r\n]/.test(report[name]))
    throw new Error(`report.json has no usable ${name}`)

// The server's address alone stands for its report route.
const url = /^https:\/\/[^/]+\/?$/.test(report.url)
  ? `${report.url.replace(/\/$/, '')}/agent/v1/report`
  : report.url

write('/run/muster/url', url)
write('/run/muster/pin', report.pin)
write('/run/muster/headers', `Authorization: Bearer ${report.token}\nContent-Type: application/json\n`)
write('/run/muster/body', JSON.stringify({ boot: report.boot, status: 'joined' }))

function write(path, text) {
  const file = std.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 'w')
  file.puts(text)
  file.close()
}
