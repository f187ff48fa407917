/** Applications that students start in their servers, at `/user/NAME/proxy/PORT/`: a real Streamlit, in a real browser. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { defaultLayers } from '../harness/host/host.ts'
import { classPackages } from '../harness/image/layers.ts'
import { openBrowser, screenshot } from '../harness/people/browser.ts'
import { arriveInLab, fillInLogin } from '../harness/people/page-actions.ts'
import { type Visitor, visit } from '../harness/people/visitor.ts'
import { claiming, studentPassword } from '../harness/product/classroom.ts'
import { bootProduct } from '../harness/product/product.ts'

const packages = ['jupyter-server-proxy>=4.6,<5', 'streamlit>=1.50,<2']
const product = await bootProduct({
  config: `users:\n  allowed: [ann, bob]\n${claiming}`,
  layers: [...defaultLayers(), classPackages('applications', packages)],
})
const { host, url } = product
const browser = await openBrowser(product)
after(async () => {
  await browser[Symbol.asyncDispose]()
  await product[Symbol.asyncDispose]()
})

/** A page that tells how often its button was pressed. */
const application = `
import streamlit as st
if 'count' not in st.session_state: st.session_state.count = 0
st.button('Count', on_click=lambda: st.session_state.update(count=st.session_state.count + 1))
st.write(f'counted {st.session_state.count} times')
`
/** As docs/applications.md has it. */
const streamlit = 'streamlit run app.py --server.headless=true --server.port=8501'

/** Answers with a word. */
const server = (word: string, port: number, address = '127.0.0.1') => `
import http.server, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'${word}')
http.server.HTTPServer.address_family = socket.AF_INET6 if ':' in '${address}' else socket.AF_INET
http.server.HTTPServer(('${address}', ${port}), Handler).serve_forever()
`

test('an application of a student’s own is at its port below the server, with all that it sends and asks for', async () => {
  const { page } = await browser.newPerson()
  await page.goto('/')
  await fillInLogin(page, 'ann')
  await arriveInLab(page, 'ann')
  await host.writeFile('/home/jupyter-ann/app.py', application)
  await using running = await host.start([
    'runuser',
    '-u',
    'jupyter-ann',
    '--',
    'sh',
    '-c',
    `cd; exec /opt/tljh/user/bin/${streamlit}`,
  ])
  await untilHeard(8501)

  await page.goto('/user/ann/proxy/8501/')

  await page.getByText('counted 0 times').waitFor()
  for (let count = 1; count <= 3; count++) {
    await page.getByRole('button', { name: 'Count' }).click()
    await page.getByText(`counted ${count} times`).waitFor()
  }
  await screenshot(page, 'application')
  assert.equal(new URL(page.url()).pathname, '/user/ann/proxy/8501/')
  running.kill()
})

test('what another student, or nobody, listens on is not shown, and it says why; what the teacher runs for all is', async () => {
  const ann = await student('ann')
  await student('bob')
  await using others = await host.start(python('jupyter-bob', server('from bob', 9001)))
  await using own = await host.start(python('jupyter-ann', server('from ann', 9002)))
  await using teachers = await host.start(python('root', server('from the teacher', 9003)))
  for (const port of [9001, 9002, 9003]) await untilHeard(port)

  assert.equal((await ann.request('/user/ann/proxy/9002/')).body, 'from ann')
  assert.equal((await ann.request('/user/ann/proxy/9003/')).body, 'from the teacher')
  for (const path of ['proxy/9001/', 'proxy/absolute/9001/', 'proxy/localhost:9001/', 'proxy/127.0.0.1:9001/x']) {
    const { status, body } = await ann.request(`/user/ann/${path}`)
    assert.equal(status, 403, path)
    assert.match(body, /a program of another user listens/)
    assert.doesNotMatch(body, /from bob/)
  }
  assert.equal(await endOf(ann, '/user/ann/proxy/9001/'), 1008)
  const { status, body } = await ann.request('/user/ann/proxy/9004/')
  assert.equal(status, 500, body)
  for (const program of [others, own, teachers]) program.kill()
})

test('whoever listens on [::1] does not keep one’s own 127.0.0.1 from being shown, and is not shown in its place', async () => {
  const ann = await student('ann')
  await student('bob')
  await using others = await host.start(python('jupyter-bob', server('from bob', 9011, '::1')))
  await untilHeard(9011, '::1')
  const { status, body } = await ann.request('/user/ann/proxy/9011/')
  assert.equal(status, 403)
  assert.doesNotMatch(body, /from bob/)

  await using own = await host.start(python('jupyter-ann', server('from ann', 9011)))
  await using on6 = await host.start(python('jupyter-ann', server('on [::1]', 9012, '::1')))
  await untilHeard(9011)
  await untilHeard(9012, '::1')

  for (const path of ['proxy/9011/', 'proxy/localhost:9011/', 'proxy/127.0.0.1:9011/']) {
    assert.equal((await ann.request(`/user/ann/${path}`)).body, 'from ann', path)
  }
  assert.equal((await ann.request('/user/ann/proxy/9012/')).body, 'on [::1]')
  for (const program of [others, own, on6]) program.kill()
})

async function student(name: string): Promise<Visitor> {
  const visitor = visit(url)
  assert.equal((await visitor.logIn(name, studentPassword)).status, 302)
  await visitor.startServer()
  return visitor
}

const python = (account: string, program: string) => ['runuser', '-u', account, '--', '/usr/bin/python3', '-c', program]

/** Resolves when somebody listens there. */
async function untilHeard(port: number, address = '127.0.0.1'): Promise<void> {
  const wait = 'until exec 3<>/dev/tcp/$2/$1; do sleep 0.1; done 2>/dev/null'
  await host.run(['bash', '-c', wait, 'bash', String(port), address], { timeoutMs: 120_000 })
}

/** The code with which a WebSocket there is closed. */
function endOf(visitor: Visitor, path: string): Promise<number> {
  const socket = visitor.webSocket(path, { origin: url })
  return new Promise((resolve, reject) => {
    socket.once('close', resolve)
    socket.once('error', reject)
  })
}
