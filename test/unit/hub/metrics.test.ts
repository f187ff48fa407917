import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createHistogram, metric } from '../../../hub/metrics/exposition.ts'

test('labels are written so that no text ends them', () => {
  const text = metric('a', 'gauge', 'Some help', [{ labels: { name: 'say "hi"\\\nb 1' }, value: 0.5 }, { value: 2 }])
  assert.equal(text, '# HELP a Some help\n# TYPE a gauge\na{name="say \\"hi\\"\\\\\\nb 1"} 0.5\na 2\n')
})

test('a bucket counts all that is at most its bound', () => {
  const histogram = createHistogram('h', 'Help', [1, 10])
  for (const value of [0.5, 1, 1.5, 10, 11]) histogram.observe({ kind: 'x' }, value)
  histogram.observe({ kind: 'y' }, 100)
  assert.equal(
    histogram.text(),
    [
      '# HELP h Help',
      '# TYPE h histogram',
      'h_bucket{kind="x",le="1"} 2',
      'h_bucket{kind="x",le="10"} 4',
      'h_bucket{kind="x",le="+Inf"} 5',
      'h_sum{kind="x"} 24',
      'h_count{kind="x"} 5',
      'h_bucket{kind="y",le="1"} 0',
      'h_bucket{kind="y",le="10"} 0',
      'h_bucket{kind="y",le="+Inf"} 1',
      'h_sum{kind="y"} 100',
      'h_count{kind="y"} 1',
      '',
    ].join('\n'),
  )
})

test('what is expected is there as 0 before it happens', () => {
  const text = createHistogram('h', 'Help', [1], [{ kind: 'x' }]).text()
  assert.match(
    text,
    /^h_bucket\{kind="x",le="1"\} 0\nh_bucket\{kind="x",le="\+Inf"\} 0\nh_sum\{kind="x"\} 0\nh_count\{kind="x"\} 0$/m,
  )
})
