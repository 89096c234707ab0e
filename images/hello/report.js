// Turns the plan's file report.json into what curl reads. For QuickJS: `qjs --module report.js`.
// biome-ignore lint/style/useNodejsImportProtocol: QuickJS's module of that name, not Node's
import * as os from 'os'
import * as std from 'std'

// The file is the server's word, and these become arguments and options of curl: in any other shape one could be an option of
// its own (`-K/muster/…`, `-o/init`), and a server that may only choose what boots would run what it likes.
const shapes = {
  url: /^https:\/\/[^\s"'\\]+$/,
  pin: /^sha256\/\/[A-Za-z0-9+/=]+$/,
  boot: /^[^\r\n]*$/,
  token: /^[^\r\n]*$/,
}
const report = JSON.parse(std.loadFile('/muster/report.json') ?? '')
for (const [name, shape] of Object.entries(shapes))
  if (typeof report[name] !== 'string' || !shape.test(report[name]))
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
