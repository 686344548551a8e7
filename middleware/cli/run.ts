import { ConfigError } from '../../lib/errors.ts'
import type { Command, CommandIo } from './command.ts'
import { messageOf, UsageError } from './command.ts'
import { keysCommand } from './keys.ts'
import { migrateCommand } from './migrate.ts'
import { pruneCommand } from './prune.ts'
import { serviceSecretCommand } from './service-secret.ts'

const COMMANDS: ReadonlyMap<string, Command> = new Map([
  ['keys', keysCommand],
  ['migrate', migrateCommand],
  ['prune', pruneCommand],
  ['service-secret', serviceSecretCommand],
])

const FAILED = 1
const MISUSED = 2

/**
 * Runs `npx latchkey`.
 *
 * @param args - what stands after the program's name
 * @returns the exit code: 0, 1 when the command failed, 2 when the command line is wrong
 */
export async function runCli(args: readonly string[], io: CommandIo): Promise<number> {
  const [name, ...rest] = args
  if (name === '--help' || name === '-h' || name === 'help') {
    io.print(overview())
    return 0
  }
  try {
    await runCommand(name, rest, io)
    return 0
  } catch (error) {
    const isMisused = error instanceof UsageError || error instanceof ConfigError
    io.complain(`latchkey: ${oneLine(error)}\n`)
    return isMisused ? MISUSED : FAILED
  }
}

async function runCommand(
  name: string | undefined,
  args: readonly string[],
  io: CommandIo,
): Promise<void> {
  const command = COMMANDS.get(name ?? '')
  if (command === undefined) throw new UsageError('no such command; npx latchkey --help lists them')
  if (args.includes('--help') || args.includes('-h')) return io.print(command.help)
  await command.run(args, io)
}

function overview(): string {
  const lines = [...COMMANDS].map(([name, { summary }]) => `  ${name.padEnd(14)} ${summary}`)
  return `Usage: npx latchkey <command> [options]

${lines.join('\n')}

npx latchkey <command> --help says more of one.
`
}

function oneLine(error: unknown): string {
  return messageOf(error)
    .replace(/^latchkey: /, '')
    .replaceAll(/\s+/g, ' ')
}
