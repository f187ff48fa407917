import assert from 'node:assert/strict'
import { test } from 'node:test'
import { defaultLayers } from '../../harness/host/host.ts'
import { deno } from '../../harness/image/layers.ts'
import { startKernel } from '../../harness/people/kernel.ts'
import { openClassroom } from '../../harness/product/classroom.ts'

const transportOf = 'import ipykernel, json; print(json.load(open(ipykernel.get_connection_file()))["transport"])'

test('a kernel that cannot listen on unix sockets answers, Python’s goes on to, and a kernel.json may say which', async t => {
  const { host, student } = await openClassroom(t, '', { layers: [...defaultLayers(), deno()] })
  const asAnn = (script: string) => host.run(['runuser', '-u', 'jupyter-ann', '--', 'sh', '-euc', `cd; ${script}`])
  const ann = await student('ann')
  await asAnn('deno jupyter --install')

  using typescript = await startKernel(ann, 'ann', 'deno')
  assert.match((await typescript.run('const six: number = 6; console.log(six * 7)')).text, /^42/)

  using python = await startKernel(ann, 'ann')
  assert.equal((await python.run(transportOf)).text, 'ipc\n')

  await asAnn(`
    mkdir -p ~/.local/share/jupyter/kernels/over-tcp
    /opt/tljh/user/bin/python -c '
import json
said = {"transport": "tcp"}
print(json.dumps({"argv": ["/opt/tljh/user/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "x", "language": "python", "metadata": {"tljh": said}}))
    ' >~/.local/share/jupyter/kernels/over-tcp/kernel.json`)
  using other = await startKernel(ann, 'ann', 'over-tcp')
  assert.equal((await other.run(transportOf)).text, 'tcp\n')
})
