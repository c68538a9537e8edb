// An OpenID Connect provider for tests. Argument: JSON with the port, the clients (as in its documentation) and the people's
// claims by their subject. Whoever enters a subject on its page is that person; any password is right.
// It makes new keys at each start, and then knows no sign-in that was begun before.
import { generateKeyPairSync, randomUUID } from 'node:crypto'

import { Provider } from 'oidc-provider'

// Node.js 22 brings it; the provider uses it, and everything else here runs on Node.js 20.
URL.parse ??= (address, base) => (URL.canParse(address, base) ? new URL(address, base) : null)

const { port, clients, people } = JSON.parse(process.argv[2])

const key = (type, options, alg) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }),
  alg,
  use: 'sig',
  kid: randomUUID(),
})

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients,
  claims: { openid: ['sub'], profile: ['name'], groups: ['groups'] },
  features: { claimsParameter: { enabled: true }, devInteractions: { enabled: true } },
  findAccount: (_context, subject) => ({
    accountId: subject,
    claims: () => ({ sub: subject, ...people[subject] }),
  }),
  jwks: {
    keys: [
      key('rsa', { modulusLength: 2048 }, 'RS256'),
      key('ec', { namedCurve: 'P-256' }, 'ES256'),
      key('ed25519', {}, 'EdDSA'),
    ],
  },
  cookies: { keys: [randomUUID()] },
  ttl: { Session: 3600, Interaction: 3600, Grant: 3600, IdToken: 3600, AccessToken: 60, AuthorizationCode: 60 },
})

provider.listen(port, '127.0.0.1', () => console.log('listening'))
