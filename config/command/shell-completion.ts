/**
 * Completion of `tljh-ts config` in bash: the verbs, and after those that take a key, the keys of the schema.
 */
import { allKeys } from '../text/read.ts'

const takesKey = 'get|set|unset|add-item|remove-item'
const takesFile = 'apply|validate'

/** A script for /etc/bash_completion.d, or to be sourced. */
export function completionScript(verbs: readonly string[]): string {
  return `# Made by: tljh-ts config completion
_tljh_ts_config() {
  local word=\${COMP_WORDS[COMP_CWORD]} at=1
  [ "\${COMP_WORDS[0]##*/}" = tljh-config ] || at=2
  if [ "$at" = 2 ] && [ "$COMP_CWORD" = 1 ]; then
    COMPREPLY=($(compgen -W 'config help install user' -- "$word"))
    return
  fi
  [ "$at" = 1 ] || [ "\${COMP_WORDS[1]}" = config ] || return
  if [ "$COMP_CWORD" = "$at" ]; then
    COMPREPLY=($(compgen -W '${verbs.join(' ')}' -- "$word"))
    return
  fi
  case \${COMP_WORDS[at]} in
    ${takesKey}) COMPREPLY=($(compgen -W '${allKeys().join(' ')}' -- "$word")) ;;
    ${takesFile}) COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}
complete -F _tljh_ts_config tljh-ts tljh-config
`
}
