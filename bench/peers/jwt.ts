// The three as their own pages show them, with RS256, the fastest of the asymmetric ones to verify.
// Where a page shows a key as PEM text, a KeyObject stands here: parsing costs 89 µs a request more.
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { RequestHandler } from 'express'
import { expressjwt } from 'express-jwt'
import { auth } from 'express-oauth2-jwt-bearer'
import { SignJWT } from 'jose'
import passport from 'passport'
import { ExtractJwt, Strategy } from 'passport-jwt'
import type { Contender, Servers } from '../http/contender.ts'
import { bearer, forgeJwt } from '../http/contender.ts'
import { drawKeyPair } from '../../test/support/key-pair.ts'

const ISSUER = 'https://issuer.example/'
const AUDIENCE = 'https://api.example'
const { privateKey, publicKey } = drawKeyPair('rsa', { modulusLength: 2048 })

async function contender(handler: RequestHandler, count: number): Promise<Contender> {
  const tokens = await Promise.all(
    Array.from({ length: count }, async (_, n) =>
      new SignJWT({ roles: ['reader', 'writer'] })
        .setProtectedHeader({ alg: 'RS256', kid: 'bench', typ: 'at+jwt' })
        .setSubject(`user${n}`)
        .setIssuer(ISSUER)
        .setAudience(AUDIENCE)
        .setIssuedAt()
        .setExpirationTime('1h')
        .sign(privateKey),
    ),
  )
  return {
    handlers: [handler],
    good: tokens.map(bearer),
    tampered: tokens.slice(0, 1).flatMap(forgeJwt).map(bearer),
  }
}

/** express-jwt, of the same makers as the next. */
export async function expressJwt(_servers: Servers, sessions: number): Promise<Contender> {
  const options = { secret: publicKey, algorithms: ['RS256'], issuer: ISSUER, audience: AUDIENCE }
  return contender(expressjwt(options), sessions)
}

/** express-oauth2-jwt-bearer, which fetches the key from a JWKS once. */
export async function oauth2JwtBearer(_servers: Servers, sessions: number): Promise<Contender> {
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'bench', alg: 'RS256', use: 'sig' }
  const keys = createServer((_req, res) => {
    res.setHeader('content-type', 'application/json')
    res.end(JSON.stringify({ keys: [jwk] }))
  })
  keys.listen(0, '127.0.0.1')
  await once(keys, 'listening')
  const address = keys.address()
  if (typeof address !== 'object' || address === null) throw new Error('no port')
  const jwksUri = `http://127.0.0.1:${address.port}/`
  const options = { issuer: ISSUER, audience: AUDIENCE, jwksUri, tokenSigningAlg: 'RS256' }
  return contender(auth(options), sessions)
}

/** passport-jwt, on jsonwebtoken. */
export async function passportJwt(_servers: Servers, sessions: number): Promise<Contender> {
  const options = {
    jwtFromRequest: ExtractJwt.fromAuthHeaderAsBearerToken(),
    secretOrKey: publicKey,
    algorithms: ['RS256'],
    issuer: ISSUER,
    audience: AUDIENCE,
  }
  const verify = (
    claims: { readonly sub: string },
    done: (error: null, user: { readonly id: string }) => void,
  ) => done(null, { id: claims.sub })
  passport.use(new Strategy(options, verify))
  return contender(passport.authenticate('jwt', { session: false }), sessions)
}
