// A service that verifies access tokens with libraries of others, as a process of its own: jwks-rsa
// requires jose, which Jest on Node 20 cannot. Ends with its standard input.
import express from 'express'
import { expressjwt } from 'express-jwt'
import { auth } from 'express-oauth2-jwt-bearer'
import jwksRsa from 'jwks-rsa'

const { issuer, jwks: jwksUri, alg, audiences } = JSON.parse(process.argv[2])

const app = express()
for (const [index, audience] of audiences.entries()) {
  const bearer = { issuer, audience, jwksUri, tokenSigningAlg: alg }
  app.get(`/express-oauth2-jwt-bearer/${index}`, auth(bearer), (req, res) => {
    res.json(req.auth.payload)
  })
  app.get(`/strict/${index}`, auth({ ...bearer, strict: true }), (req, res) => {
    res.json(req.auth.payload)
  })
  const secret = jwksRsa.expressJwtSecret({ jwksUri })
  const options = { secret, issuer, audience, algorithms: [alg] }
  app.get(`/express-jwt/${index}`, expressjwt(options), (req, res) => {
    res.json(req.auth)
  })
}
app.use((error, _req, res, _next) => {
  res.status(error.status ?? 500).json({ error: error.message })
})

const server = app.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${server.address().port}\n`)
})
process.stdin.resume().on('end', () => process.exit())
