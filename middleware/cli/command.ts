import { parseArgs } from 'node:util'
import type { ParseArgsConfig } from 'node:util'
import { StoreUnavailable } from '../../lib/errors.ts'

/** What a command has of the world. */
export interface CommandIo {
  readonly env: NodeJS.ProcessEnv
  print(text: string): void
  complain(text: string): void
}

/** A command of `npx latchkey`. */
export interface Command {
  /** One line of the list of commands. */
  readonly summary: string
  readonly help: string
  /** @throws {UsageError} when it was asked wrongly; any other error when it failed */
  run(args: readonly string[], io: CommandIo): Promise<void>
}

/** The command line is wrong. The message quotes names of options only: the rest may be a password. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/**
 * Reads a command's options.
 *
 * @throws {UsageError} for what is not an option, a value that is missing or empty, or any other argument
 */
export function parseOptions<const Options extends NonNullable<ParseArgsConfig['options']>>(
  args: readonly string[],
  options: Options,
): ReturnType<typeof parseArgs<{ options: Options }>>['values'] {
  const values = readOptions(args, options)
  const empty = Object.entries(values).find(([, value]) => value === '')
  if (empty !== undefined) throw new UsageError(`--${empty[0]} must not be empty`)
  return values
}

function readOptions<const Options extends NonNullable<ParseArgsConfig['options']>>(
  args: readonly string[],
  options: Options,
): ReturnType<typeof parseArgs<{ options: Options }>>['values'] {
  try {
    return parseArgs({ args: [...args], options, strict: true }).values
  } catch (error) {
    throw new UsageError(problemOf(error), { cause: error })
  }
}

function problemOf(error: unknown): string {
  const code = memberOf(error, 'code')
  if (code === 'ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL') return 'only options are understood here'
  // What follows is advice on quoting, and quotes the argument.
  return messageOf(error).split(/[.\n]/, 1)[0] ?? ''
}

/** What an error says; several addresses of one host fail as one error that says nothing itself. */
export function messageOf(error: unknown): string {
  const errors = memberOf(error, 'errors')
  if (Array.isArray(errors)) return messageOf(errors[0])
  const message = memberOf(error, 'message')
  // Who runs a command is to know why the store did not answer.
  if (error instanceof StoreUnavailable && error.cause !== undefined) {
    return `${error.message}: ${messageOf(error.cause)}`
  }
  return typeof message === 'string' ? message : String(error)
}

/** A member of something that was thrown. */
export function memberOf(thrown: unknown, name: string): unknown {
  if (typeof thrown !== 'object' || thrown === null) return undefined
  const member: unknown = Reflect.get(thrown, name)
  return member
}
