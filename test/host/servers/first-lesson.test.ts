/** What a teacher and a class do in their first lesson, with the settings, the files and the habits that they bring. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startKernel } from '../../harness/people/kernel.ts'
import { openLabTerminal } from '../../harness/people/lab-terminal.ts'
import type { Visitor } from '../../harness/people/visitor.ts'
import { type Classroom, openClassroom } from '../../harness/product/classroom.ts'

const classroom: Classroom = await openClassroom(undefined)
const { host, admin } = classroom
after(() => classroom[Symbol.asyncDispose]())

const [teacher, ann, bob] = [
  await classroom.administrator(),
  await classroom.student('ann'),
  await classroom.student('bob'),
]
await teacher.startServer()

async function startAgain(visitor: Visitor, user: string): Promise<void> {
  await visitor.post('/hub/stop')
  for await (const { failed } of visitor.progress(user)) if (failed) break
  await visitor.startServer()
}

async function python(visitor: Visitor, user: string, code: string): Promise<string> {
  using kernel = await startKernel(visitor, user)
  const { text, error } = await kernel.run(code)
  return text + error
}

const asUser = (user: string, script: string) =>
  host.run(['runuser', '-u', `jupyter-${user}`, '--', 'sh', '-euc', script])

/** A wheel with one module, as pip takes it from a disk. */
const makeWheel = `
import zipfile
with zipfile.ZipFile("/srv/greeting-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr("greeting/__init__.py", "word = 'hello, class'")
    wheel.writestr("greeting-1.0.data/data/etc/jupyter/greeting.json", "{}")
    wheel.writestr("greeting-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: greeting\\nVersion: 1.0\\n")
    wheel.writestr("greeting-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr("greeting-1.0.dist-info/RECORD", "")
`

test('python, pip and jupyter of a terminal are those of the notebooks, whatever files of the user’s set PATH', async () => {
  const rc = '/home/jupyter-ann/.bashrc'
  const kept = await host.readFile(rc)
  const found = async (line: string) => {
    using terminal = await openLabTerminal(ann, 'ann')
    return await terminal.run(line)
  }
  for (const added of ['', 'export PATH=/usr/local/bin:/usr/bin:/bin\n', 'cd /nowhere\n']) {
    await host.writeFile(rc, added + kept, { owner: 'jupyter-ann', group: 'jupyter-ann' })
    const seen = await found('which python pip jupyter')
    for (const name of ['python', 'pip', 'jupyter'])
      assert.match(seen, new RegExp(`^/opt/tljh/user/bin/${name}`, 'm'), added)
  }
  await host.writeFile(rc, kept, { owner: 'jupyter-ann', group: 'jupyter-ann' })
  for (const shell of ['bash', 'bash -l', 'sh -l']) {
    assert.match(await found(`${shell} -c 'which python'`), /^\/opt\/tljh\/user\/bin\/python/m, shell)
  }

  await asUser('ann', '/usr/bin/python3 -m venv --without-pip ~/mine')
  assert.match(await found('. ~/mine/bin/activate; which python'), /^\/home\/jupyter-ann\/mine\/bin\/python/m)
  await host.writeFile(rc, `${kept}\n. ~/mine/bin/activate\n`, { owner: 'jupyter-ann', group: 'jupyter-ann' })
  assert.match(await found('which python'), /^\/home\/jupyter-ann\/mine\/bin\/python/m)
  await host.writeFile(rc, kept, { owner: 'jupyter-ann', group: 'jupyter-ann' })
})

test('what an administrator installs and writes with sudo in JupyterLab is for the class to read', async () => {
  await host.run(['/usr/bin/python3', '-c', makeWheel])
  using terminal = await openLabTerminal(teacher, admin)

  const seen = await terminal.run('sudo -E pip install --no-index /srv/greeting-1.0-py3-none-any.whl')
  await terminal.run('sudo mkdir -p /srv/data/physics; echo 9.81 | sudo tee /srv/data/physics/g.txt')

  assert.match(seen, /Successfully installed greeting-1\.0/)
  const read = 'import greeting; print(greeting.word, open("/srv/data/physics/g.txt").read())'
  assert.equal(await python(bob, 'bob', read), 'hello, class 9.81\n\n')
  const settings = await host.run(['stat', '--format=%a', '/opt/tljh/user/etc/jupyter/greeting.json'])
  assert.equal(settings.stdout.trim(), '644')
})

test('in a folder for all, what one student saves another reads, and saves beside it', async () => {
  await host.run(['install', '--directory', '--group=jupyterhub-users', '--mode=2777', '/srv/scratch'])
  for (const name of ['ann', 'bob']) await asUser(name, 'ln -s /srv/scratch ~/scratch')
  const notebook = (text: string) => ({
    type: 'notebook',
    content: {
      cells: [{ cell_type: 'markdown', metadata: {}, source: text }],
      metadata: {},
      nbformat: 4,
      nbformat_minor: 4,
    },
  })
  const save = async (visitor: Visitor, name: string, text: string) => {
    const saved = await visitor.jupyter('PUT', `api/contents/scratch/${name}`, notebook(text))
    assert.ok(saved.status === 200 || saved.status === 201, `${name}: ${saved.status} ${saved.body}`)
    const checkpoint = await visitor.jupyter('POST', `api/contents/scratch/${name}/checkpoints`)
    assert.equal(checkpoint.status, 201, checkpoint.body)
  }

  await save(bob, 'a.ipynb', 'by bob')
  const read = await ann.jupyter('GET', 'api/contents/scratch/a.ipynb')
  await save(ann, 'b.ipynb', 'by ann')
  await save(ann, 'a.ipynb', 'by both')

  assert.match(read.body, /by bob/)
  assert.match((await bob.jupyter('GET', 'api/contents/scratch/a.ipynb')).body, /by both/)
  const { status } = await ann.jupyter('GET', 'api/contents/scratch/../../jupyter-bob/scratch/a.ipynb')
  assert.notEqual(status, 200)
  await assert.rejects(asUser('ann', 'ls /home/jupyter-bob'))
})

test('nobody is asked whether they want news of Jupyter, whatever their own settings say', async () => {
  const plugin = '@jupyterlab/apputils-extension'
  const file = `/home/jupyter-ann/.jupyter/lab/user-settings/${plugin}/notification.jupyterlab-settings`
  await host.writeFile(file, '{ "fetchNews": "none" }')

  const { body } = await ann.request('/user/ann/lab')

  const config = /<script id="jupyter-config-data"[^>]*>([\s\S]*?)<\/script>/.exec(body)?.[1] ?? '{}'
  const { disabledExtensions = [] } = JSON.parse(config) as { disabledExtensions?: string[] }
  await host.run(['rm', '-r', '/home/jupyter-ann/.jupyter'])
  assert.ok(disabledExtensions.includes(`${plugin}:announcements`), config)
})

test('settings of a user’s own cannot move the server away from where the hub looks', async () => {
  const home = '/home/jupyter-ann/.jupyter'
  const listening = {
    port: 9999,
    ip: '0.0.0.0',
    certfile: '/nowhere',
    keyfile: '/nowhere',
    client_ca: '/nowhere',
    sock: '/tmp/s',
  }
  const elsewhere = {
    ...listening,
    base_url: '/x/',
    allow_remote_access: false,
    sock_mode: '0600',
    root_dir: '/',
    token: 'x',
    password: 'x',
  }
  const pythonSettings = (section: string) =>
    Object.entries(elsewhere)
      .map(([key, value]) => `c.${section}.${key} = ${value === false ? 'False' : JSON.stringify(value)}\n`)
      .join('')
  const files: Record<string, string>[] = [
    { 'jupyter_server_config.json': JSON.stringify({ ServerApp: elsewhere }) },
    {
      'jupyter_server_config.py': pythonSettings('ServerApp'),
      'jupyter_config.py': 'c.JupyterApp.config_file = "/tmp/x.py"\n',
    },
    {
      'jupyter_notebook_config.py': pythonSettings('NotebookApp'),
      'jupyter_lab_config.py': pythonSettings('ServerApp'),
    },
    {
      'jupyter_notebook_config.json': JSON.stringify({ NotebookApp: listening }),
      'jupyter_server_config.py': 'c.HubServerApp.port = "x"\n',
    },
  ]
  for (const set of files) {
    await asUser('ann', 'rm -rf ~/.jupyter; mkdir ~/.jupyter')
    for (const [name, text] of Object.entries(set)) await host.writeFile(`${home}/${name}`, text)

    await startAgain(ann, 'ann')

    assert.equal(await python(ann, 'ann', '6 * 7'), '42', JSON.stringify(set))
    const { body } = await ann.jupyter('GET', 'api/contents')
    assert.match(body, /scratch/, 'the files of the home are shown')
  }
  await asUser('ann', 'rm -rf ~/.jupyter')
})

test('a start that fails with settings of the user’s own names their file, and comes about without them', async () => {
  await asUser('ann', 'mkdir -p ~/.jupyter; echo "raise SystemExit(5)" >~/.jupyter/jupyter_server_config.py')
  await ann.post('/hub/stop')
  for await (const { failed } of ann.progress('ann')) if (failed) break
  await ann.post('/hub/spawn')
  for await (const { failed, ready, end } of ann.progress('ann')) {
    assert.ok(!ready)
    if (failed) assert.match(end?.why ?? '', /~\/\.jupyter\/jupyter_server_config\.py/)
  }
  const { body } = await ann.request('/hub/home')
  assert.match(body, /~\/\.jupyter\/jupyter_server_config\.py/)
  assert.match(body, /name="settings" value="none"/)

  await ann.post('/hub/spawn', { settings: 'none' })

  for await (const { failed, ready } of ann.progress('ann')) {
    assert.ok(!failed)
    if (ready) break
  }
  await ann.request('/user/ann/lab')
  const file = await ann.jupyter('GET', 'api/contents/?content=1')
  assert.equal(file.status, 200)
  using terminal = await openLabTerminal(ann, 'ann')
  assert.doesNotMatch(await terminal.run('rm ~/.jupyter/jupyter_server_config.py'), /cannot/)
  await startAgain(ann, 'ann')
})

test('a server that ends before it is ready, and says that nothing is wrong, is told as what it is', async () => {
  await asUser('ann', 'mkdir -p ~/.jupyter; echo "raise SystemExit(0)" >~/.jupyter/jupyter_server_config.py')
  await ann.post('/hub/stop')
  for await (const { failed } of ann.progress('ann')) if (failed) break

  await ann.post('/hub/spawn')

  const events = await Array.fromAsync(ann.progress('ann'))
  const end = events.find(({ failed }) => failed)?.end
  assert.equal(end?.what, 'The server ended before it was ready')
  assert.match(end?.why ?? '', /~\/\.jupyter\/jupyter_server_config\.py/)
  await asUser('ann', 'rm ~/.jupyter/jupyter_server_config.py')
  await ann.startServer()
})

test('a server starts whatever the state of the home: full, or with folders of root in it', async () => {
  const home = '/home/jupyter-bob'
  const owned = (await host.run(['stat', '--format=uid=%u,gid=%g', home])).stdout.trim()
  await bob.post('/hub/stop')
  for await (const { failed } of bob.progress('bob')) if (failed) break
  await host.run(['mount', '-t', 'tmpfs', '-o', `size=3m,mode=0700,${owned}`, 'tmpfs', home])
  await bob.startServer()
  assert.equal(await python(bob, 'bob', '6 * 7'), '42')
  await asUser('bob', `dd if=/dev/zero of=${home}/big bs=4k 2>/dev/null || true; echo x >${home}/rest || true`)

  const usable = async () => {
    await startAgain(bob, 'bob')
    assert.equal(await python(bob, 'bob', '6 * 7'), '42')
    assert.equal((await bob.jupyter('GET', 'api/contents')).status, 200)
    using terminal = await openLabTerminal(bob, 'bob')
    assert.match(await terminal.run('which python'), /^\/opt\/tljh\/user\/bin\/python/m)
  }
  await usable()
  await asUser('bob', 'rm -rf ~/.ipython ~/.local ~/.jupyter; dd if=/dev/zero of=$HOME/more bs=4k 2>/dev/null || true')
  await usable()
  const { body } = await bob.jupyter('GET', 'lab/api/update')
  assert.match(body, /Your home folder is full/)

  assert.equal((await bob.jupyter('DELETE', 'api/contents/big')).status, 204)
  const saved = await bob.jupyter('PUT', 'api/contents/a.txt', { type: 'file', format: 'text', content: 'room again' })
  assert.equal(saved.status, 201, saved.body)

  for (const mode of ['0700', '0755']) {
    await host.run([
      'sh',
      '-euc',
      `cd ${home}; for f in .ipython .jupyter .local; do rm -rf $f; install -d -m ${mode} $f; done`,
    ])
    await usable()
  }
})
