/**
 * A program: `oidc-provider`, as it comes, with its own login and consent pages. Whoever types a name there is that one.
 *
 *   node test/harness/peers/openid-provider.ts PORT CALLBACK_ADDRESS...
 *
 * It has a client for each way of proving who the hub is: `posting` and `basic`.
 */
import { Provider } from 'oidc-provider'

const [port = '', ...callbacks] = process.argv.slice(2)
const clients = ['client_secret_post', 'client_secret_basic'].map(method => ({
  client_id: method === 'client_secret_post' ? 'posting' : 'basic',
  client_secret: 'known to hub & provider: 100%',
  token_endpoint_auth_method: method as 'client_secret_post' | 'client_secret_basic',
  redirect_uris: callbacks,
}))

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients,
  claims: { openid: ['sub'], profile: ['preferred_username', 'groups'], email: ['email', 'email_verified'] },
  findAccount: (_context, sub) => ({
    accountId: sub,
    claims: () => ({ sub, preferred_username: sub, groups: sub.startsWith('tutor') ? ['tutors'] : [] }),
  }),
})
provider.listen(Number(port), '127.0.0.1', () => process.stdout.write('ready\n'))
