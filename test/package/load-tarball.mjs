// Packs the package as npm would publish it and loads the tarball as its users do: as an ES module,
// from CommonJS, from TypeScript of both kinds, and by `npx`. Run after `npm run build`.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const root = dirname(dirname(here))
const work = mkdtempSync(join(tmpdir(), 'latchkey-package-'))

/** Runs a program in the consumer's folder; its output is shown, and a failure ends the check. */
function run(program, ...args) {
  execFileSync(program, args, { cwd: work, stdio: 'inherit' })
}

/** The program as npm links it, where no database's driver is installed yet. */
function checkProgram(modules) {
  const { bin } = JSON.parse(readFileSync(join(modules, 'latchkey', 'package.json'), 'utf8'))
  symlinkSync(join(root, 'node_modules', 'jose'), join(modules, 'jose'))
  symlinkSync(join(modules, 'latchkey', bin.latchkey), join(modules, '.bin', 'latchkey'))
  const npx = (...args) => {
    const env = { ...process.env, DATABASE_URL: 'postgres://localhost/none' }
    return spawnSync('npx', ['--no', 'latchkey', ...args], { cwd: work, env, encoding: 'utf8' })
  }
  const printed = npx('migrate', '--print')
  assert.equal(printed.status, 0, printed.stderr)
  assert.match(printed.stdout, /^begin;[^]*^commit;$/m)
  const refused = npx('migrate')
  assert.equal(refused.status, 1)
  assert.match(refused.stderr, /latchkey: .*npm install pg/)
}

try {
  const packed = execFileSync('npm', ['pack', '--json', '--pack-destination', work], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const [{ filename, files, unpackedSize }] = JSON.parse(packed.toString())
  const strangers = files.filter(
    ({ path }) => !/^(?:dist\/|package\.json$|README|LICENSE|CHANGELOG)/.test(path),
  )
  if (strangers.length > 0) throw new Error(`packed by mistake: ${JSON.stringify(strangers)}`)

  const modules = join(work, 'node_modules')
  mkdirSync(join(modules, 'latchkey'), { recursive: true })
  mkdirSync(join(modules, '.bin'))
  run('tar', '-xzf', filename, '--strip-components=1', '-C', join(modules, 'latchkey'))
  checkProgram(modules)
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (name !== 'latchkey' && name !== 'jose' && !name.startsWith('.')) {
      symlinkSync(join(root, 'node_modules', name), join(modules, name))
    }
  }
  cpSync(join(here, 'consumers'), work, { recursive: true })

  run(process.execPath, 'consumer.mjs')
  run(process.execPath, '--disable-warning=ExperimentalWarning', 'consumer.cjs')
  run(process.execPath, join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', '.')
  console.log(`package: ${files.length} files, ${unpackedSize} bytes, loads everywhere`)
} finally {
  rmSync(work, { recursive: true, force: true })
}
