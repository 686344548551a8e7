import { createRequire } from 'node:module'
import { join } from 'node:path'
import { memberOf } from './command.ts'

/**
 * Loads a package that only some commands need, from where the command is run or beside latchkey.
 *
 * @throws {Error} when it is not installed
 */
export function loadPeer<Peer>(name: string, isPeer: (value: unknown) => value is Peer): Peer {
  for (const from of [join(process.cwd(), 'package.json'), import.meta.url]) {
    try {
      const peer: unknown = createRequire(from)(name)
      if (isPeer(peer)) return peer
    } catch (error) {
      if (memberOf(error, 'code') !== 'MODULE_NOT_FOUND') throw error
    }
  }
  throw new Error(`${name} is not installed here: npm install ${name}`)
}
