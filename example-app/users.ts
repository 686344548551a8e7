import { randomBytes } from 'node:crypto'
import { hash, verify } from '@node-rs/argon2'
import type { User } from 'latchkey'
import { fieldOf } from './fields.ts'

/**
 * Argon2id (the library's default) in the first of OWASP's equivalent settings: 46 MiB in one pass
 * instead of 19 MiB in two. Memory is what a guesser's graphics card runs out of, and on the few
 * threads that hash at once it stays below 200 MiB here.
 */
const COST = { memoryCost: 47_104, timeCost: 1, parallelism: 1 }

/** What a table of users would hold. The passwords are here because this is a demonstration. */
const PEOPLE = [
  { id: 'alice', password: 'wonderland-7', roles: [] },
  { id: 'bob', password: 'builder-7', roles: [] },
  { id: 'root', password: 'admin-only-7', roles: ['admin'] },
] as const

/** The users of the example. */
export interface Users {
  /** The user these credentials belong to, or null. Unknown names take as long as known ones. */
  authenticate(credentials: unknown): Promise<User | null>
  /** The user as of now, or null when there is none any more. */
  load(id: string): User | null
}

/** Hashes the passwords, off the event loop, and returns the users. */
export async function openUsers(): Promise<Users> {
  const users = new Map<string, User>()
  const hashes = new Map<string, string>()
  // Somebody nobody knows is checked against this one, so that the clock does not tell who exists.
  const [nobody] = await Promise.all([
    hash(randomBytes(32), COST),
    ...PEOPLE.map(async ({ id, password, roles }) => {
      users.set(id, { id, roles: [...roles], level: 'password', amr: ['pwd'] })
      hashes.set(id, await hash(password, COST))
    }),
  ])

  return {
    async authenticate(credentials) {
      const login = readLogin(credentials)
      if (login === null) return null
      const matches = await verify(hashes.get(login.username) ?? nobody, login.password)
      return matches ? (users.get(login.username) ?? null) : null
    },
    load: (id) => users.get(id) ?? null,
  }
}

function readLogin(credentials: unknown): { username: string; password: string } | null {
  const username = fieldOf(credentials, 'username')
  const password = fieldOf(credentials, 'password')
  if (typeof username !== 'string' || typeof password !== 'string') return null
  // Nobody's password is empty: that needs no hashing to know.
  return password === '' ? null : { username, password }
}
