#!/usr/bin/env bash
# Installs tljh-ts, a notebook hub for one machine:
#
#   curl -fsSL @SITE@/install.sh | sudo bash -s -- --admin NAME
#
# It looks whether this machine will do, and changes nothing until it knows; installs the few packages of the distribution
# that are missing; downloads a release and checks its signature; unpacks it to /opt/tljh/hub/versions; and hands over to
# the release's own `tljh-ts install`. Run again after anything went wrong, it goes on where it was.
#
# All of it stands between two braces: bash runs nothing of that before it has read the last one, so a download that was
# cut off does nothing.
{
set -euo pipefail
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
umask 022

# Filled in when a release is made: where releases are, and the key that signs them.
readonly SITE='@SITE@'
readonly SIGNERS='@SIGNERS@'
readonly SELF='the command with which you started this'
readonly CACHE=/var/cache/tljh-ts
readonly PACKAGES=(libatomic1 git sudo ca-certificates curl openssh-client python3 procps iproute2)

usage() {
  cat <<'END'
Usage: install.sh --admin NAME[:PASSWORD] [OPTION…]

  --admin NAME[:PASSWORD]   an administrator (may be given several times). Without a password they get a one-time code,
                            which is better: whoever is on this machine can read a command line
  --version VERSION         1.2.3, or the newest of 1.2, or of 1; the newest of all if not given
  --config FILE             a configuration to begin with; one of TLJH's will do
  --requirements FILE|URL   Python packages for the class, as pip reads them
  --behind-proxy            another web server of this machine has port 80 and passes requests on to the hub
  --no-progress-page        shows browsers nothing while it runs
  --no-self-test            does not start a server at the end to see whether one starts
  --prefix FOLDER           in place of /opt/tljh
  --offline ARCHIVE         a release that is already here (tljh-ts-VERSION-linux-ARCH.tar.gz)
  --import-tljh             takes over The Littlest JupyterHub, which runs on this machine: shows its plan, and asks
  --yes                     with --import-tljh: does not ask
  --untested-system         goes on where the distribution is one that nobody has tried
  --help
END
}

main() {
  read_options "$@"
  check_machine
  mkdir -p "$CACHE" "$prefix/hub/versions"
  # For root alone: whoever may open it can hold it.
  (umask 077; : >>"$CACHE/install.lock")
  chmod 600 "$CACHE/install.lock"
  exec 9>"$CACHE/install.lock"
  flock --nonblock 9 || refuse 'another installation runs on this machine' "It holds $CACHE/install.lock." 'Wait for it.'
  install_packages
  if [[ $offline ]]; then take_archive; else fetch_release; fi
  exec 9>&-
  hand_over
}

read_options() {
  version=latest prefix=/opt/tljh offline='' config='' requirements='' behind_proxy='' import='' untested=''
  passed_on=() import_options=() has_admin='' has_password=''
  while (($#)); do
    case $1 in
      --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}"; continue ;;
      --help) usage; exit 0 ;;
      --behind-proxy) behind_proxy=1 passed_on+=("$1"); shift; continue ;;
      --no-progress-page | --no-self-test) passed_on+=("$1") import_options+=("$1"); shift; continue ;;
      --import-tljh) import=1; shift; continue ;;
      --yes) import_options+=("$1"); shift; continue ;;
      --untested-system) untested=1; shift; continue ;;
      --admin | --version | --config | --requirements | --prefix | --offline) ;;
      *) refuse "there is no option $1" 'Nothing was looked at.' 'See all of them: install.sh --help' ;;
    esac
    [[ ${2:-} ]] || refuse "$1 is not followed by anything" 'It needs a value.' 'See: install.sh --help'
    case $1 in
      --version) version=$2 ;;
      --offline) offline=$2 ;;
      --prefix) prefix=${2%/} passed_on+=(--prefix "${2%/}") ;;
      --config) config=$2 passed_on+=("$1" "$2") ;;
      --requirements) requirements=$2 passed_on+=("$1" "$2") import_options+=("$1" "$2") ;;
      --admin)
        check_admin "$2"
        has_admin=1 passed_on+=("$1" "$2") import_options+=("$1" "${2%%:*}") ;;
    esac
    shift 2
  done
  [[ $has_admin || $import ]] || refuse 'no administrator was named' 'Somebody has to let the others in.' 'Name one: --admin NAME'
  if [[ $import && ($config || $prefix != /opt/tljh || $behind_proxy) ]]; then
    refuse '--import-tljh does not go with --config, --prefix and --behind-proxy' 'All that is taken over from TLJH.' 'Leave these out.'
  fi
  if [[ $import && $has_password ]]; then
    refuse '--admin has a password, and --import-tljh takes none' 'Whom TLJH knows keeps the password; others get a one-time code.' \
      'Write --admin NAME alone.'
  fi
  check_prefix
  [[ ! $requirements || $requirements =~ ^https?:// || -r $requirements ]] ||
    refuse "$requirements cannot be read" '--requirements names it.' 'See whether it is there.'
  [[ ! $config || -r $config ]] || refuse "$config cannot be read" '--config names it.' 'See whether it is there.'
  [[ ! $offline || -r $offline ]] || refuse "$offline cannot be read" '--offline names it.' 'See whether it is there.'
}

# check_admin NAME[:PASSWORD]: a name as the hub has them (config/users/names.ts), in capitals too.
check_admin() {
  local name=${1%%:*}
  [[ ${name,,} =~ ^[[:space:]]*[a-z0-9]([a-z0-9._@-]{0,62}[a-z0-9])?[[:space:]]*$ && $name != *..* ]] ||
    refuse "--admin is $name, which cannot be a user name" \
      'A name has 1 to 64 of the letters a to z, digits and . _ @ -, and starts and ends with a letter or a digit.' 'Check its spelling.'
  [[ $1 != *:* ]] || has_password=1
  [[ $1 != *$'\n'* ]] || refuse "the password of $name has several lines" 'Nobody could type it.' 'Choose one of a single line.'
}

# As installer/steps/machine.ts has it: root makes folders there, and runs what lies in them.
check_prefix() {
  local place to_do='Leave it out, or write one like --prefix /srv/tljh'
  [[ $prefix =~ ^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$ ]] ||
    refuse "--prefix is $prefix" 'It has to be an absolute path of letters, digits and . _ -' "$to_do"
  [[ ! $prefix =~ ^(/var)?/[^/]+$ ]] ||
    refuse "--prefix is $prefix" "It has to be a folder of its own, below one of the system's." "$to_do"
  for place in /home /root /tmp /var/tmp /run /dev /proc /sys /boot /etc /usr /bin /sbin /lib /lib32 /lib64 /libx32 \
    /var/lib/{apt,dpkg,private,systemd} /var/{backups,cache,log,mail,spool,lock,run}; do
    [[ $prefix/ != "$place"/* ]] ||
      refuse "--prefix is $prefix" "What lies in $place is the system's, or a user's, or is not seen by services, or does not last." "$to_do"
  done
}

# --- Looking: nothing is changed here ---------------------------------------------------------------------------------

check_machine() {
  ((EUID == 0)) || refuse 'you are not root' 'It makes accounts and services.' 'Put sudo before bash: … | sudo bash -s -- --admin NAME'
  check_system
  case $(uname -m) in
    x86_64) arch=x64 ;;
    aarch64) arch=arm64 ;;
    *) refuse "this machine is $(uname -m)" 'There are releases for x86_64 and aarch64 (64 bit) alone.' 'Use such a machine.' ;;
  esac
  check_systemd
  check_size
  check_installation
  check_ports
  missing=()
  local name
  for name in "${PACKAGES[@]}"; do
    # What was once installed and is no more is known to dpkg all the same.
    [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$name" 2>/dev/null || true) == installed ]] || missing+=("$name")
  done
  if [[ $offline ]]; then
    ((${#missing[@]} == 0)) ||
      refuse "these packages are missing: ${missing[*]}" 'With --offline nothing is downloaded.' "Install them: apt-get install ${missing[*]}"
  else
    check_clock
  fi
}

check_system() {
  [[ -r /etc/os-release ]] || refuse 'this system does not say what it is' 'There is no /etc/os-release.' 'Use Debian 13.'
  local ID='' VERSION_ID='' PRETTY_NAME='' ID_LIKE='' known='Known to work: Debian 12 and 13. Made for: Ubuntu 22.04 and 24.04, too.'
  # shellcheck source=/dev/null
  . /etc/os-release
  local name=${PRETTY_NAME:-$ID $VERSION_ID} number=${VERSION_ID//./}
  case $ID in
    debian | ubuntu) ;;
    *)
      [[ " $ID_LIKE " =~ \ (debian|ubuntu)\  ]] ||
        refuse "this is $name" "It is neither Debian nor Ubuntu. $known" 'Use one of these.'
      [[ $untested ]] || refuse "this is $name" "It is akin to Debian, but nobody has tried it. $known" \
        'Use one of these, or add --untested-system.'
      say "Going on with $name, which nobody has tried."
      return ;;
  esac
  [[ $number =~ ^[0-9]+$ ]] || number=9999
  case $ID-$number in
    debian-12 | debian-13 | ubuntu-2204 | ubuntu-2404) return ;;
    debian-? | debian-1[01] | ubuntu-1??? | ubuntu-2[01]??)
      refuse "this is $name" "It is too old. $known" 'Upgrade the system, or use a new machine.' ;;
    debian-1? | debian-[2-9]? | ubuntu-[2-9][02468]04) say "$name is newer than what this release was made for. Going on." ;;
    *)
      [[ $untested ]] || refuse "this is $name" "It is no release that is kept up for years. $known" \
        'Use one of these, or add --untested-system.'
      say "Going on with $name, which nobody has tried." ;;
  esac
}

check_systemd() {
  local first
  first=$(cat /proc/1/comm)
  if [[ $first != systemd ]]; then
    if [[ -e /.dockerenv || -e /run/.containerenv ]]; then
      refuse 'this is a container without systemd' "Its first process is $first, and the hub's servers are units of systemd." \
        'Use a virtual machine, or a machine.'
    fi
    refuse 'systemd does not run this machine' "The first process is $first, and the hub's servers are units of systemd." \
      'Use a machine or virtual machine that systemd has started.'
  fi
  local said
  said=$(systemctl --version)
  [[ $said =~ ^systemd\ ([0-9]+) && ${BASH_REMATCH[1]} -ge 249 ]] ||
    refuse "this is ${said%%$'\n'*}" 'The limits of servers need systemd 249 or newer.' 'Use Debian 13.'
}

check_size() {
  local memory free place wanted=3072 what='3 GB, and room for homes'
  memory=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
  # What is sold as 1 GB has some 960 MB for Linux.
  ((memory >= 900)) || refuse "this machine has $memory MB of memory" 'It needs 1 GB, and 100 to 500 MB for each student at work.' 'Use a bigger one.'
  ((memory >= 1900)) || say "This machine has $memory MB of memory: enough for a few students at a time."
  # What an installation has that is here already, or was broken off, needs no room any more.
  if [[ -L $prefix/hub/current || -e $prefix/hub/installing ]] || compgen -G "$prefix/hub/versions/[0-9]*" >/dev/null; then
    wanted=500 what='500 MB to go on'
  fi
  place=$(nearest "$prefix")
  free=$(free_in "$place")
  ((free >= wanted)) || refuse "$place has $free MB free" "It needs $what." 'Make room, or name another place with --prefix.'
  place=$(nearest "$CACHE")
  [[ $(stat --format=%d "$place") != "$(stat --format=%d "$(nearest "$prefix")")" ]] || return 0
  free=$(free_in "$place")
  ((free >= 200)) || refuse "$place has $free MB free" 'What is downloaded goes there, and needs 200 MB.' 'Make room there.'
}

# The folder that is there, of this path or above it.
nearest() {
  local folder=$1
  while [[ ! -d $folder ]]; do folder=$(dirname "$folder"); done
  echo "$folder"
}

# In MB.
free_in() { echo $(($(df --output=avail --block-size=1M "$1" | tail -n 1))); }

# A TLJH is taken over only where one says so; an installation of ours is mended, or upgraded by its own command.
check_installation() {
  if [[ ! $import && (-e /etc/systemd/system/jupyterhub.service || -e $prefix/hub/bin/python3) ]]; then
    refuse 'The Littlest JupyterHub is installed on this machine' 'Both want the same ports and folders.' \
      'Add --import-tljh: it shows what it would take over (users, passwords, configuration, homes) before it does so. Or remove TLJH.'
  fi
  installed=''
  if [[ -e $prefix/hub/installed ]]; then
    installed=$(basename "$(readlink "$prefix/hub/current")")
  fi
}

check_ports() {
  [[ ! $behind_proxy && ! $import && ! -e $prefix/hub/current ]] || return 0
  local port users found='' name
  for port in 80 443; do
    users=$(listeners "$port")
    [[ ! $users ]] || found+="port $port is in use by $users, "
  done
  for name in apache2 nginx caddy lighttpd; do
    [[ $found == *"$name"* ]] || ! systemctl --quiet is-enabled "$name" 2>/dev/null || found+="$name starts with this machine, "
  done
  [[ $found ]] || return 0
  found=${found%, }
  if [[ $config ]]; then
    say "Note: $found. That does no harm where $config names other ports."
    return 0
  fi
  refuse "$found" 'The hub listens on ports 80 and 443.' "Choose one: stop that program and disable it (systemctl disable --now NAME); \
or keep it and let it pass requests on to the hub (add --behind-proxy); or give the hub another port (--config FILE, with http: port: 8000)."
}

# Who listens on a TCP port, in words; nothing where nobody does.
listeners() {
  local line names=''
  if command -v ss >/dev/null; then
    line=$(ss --no-header --listening --tcp --numeric --processes "sport = :$1")
    [[ $line ]] || return 0
    while [[ $line =~ \(\"([^\"]+)\",pid=[0-9]+ ]]; do
      [[ " $names " == *" ${BASH_REMATCH[1]} "* ]] || names+="${names:+ }${BASH_REMATCH[1]}"
      line=${line#*"${BASH_REMATCH[0]}"}
    done
    echo "${names:-a program}"
  else
    # Without IPv6 there is no tcp6.
    { cat /proc/net/tcp /proc/net/tcp6 2>/dev/null || true; } |
      awk -v port="$(printf ':%04X' "$1")" '$4 == "0A" && substr($2, length($2) - 4) == port { found = 1 } END { if (found) print "a program" }'
  fi
}

# Certificates and signatures hold for a time, so a clock that is wrong fails later, in ways that nobody understands.
check_clock() {
  command -v curl >/dev/null || return 0
  local answer status date age theirs ours
  # It is the time alone that is read here, and a wrong clock is why a certificate would not be believed.
  answer=$(curl "${curl_options[@]}" --insecure --head --header 'Cache-Control: no-cache' --write-out "$STATUS" "$SITE/releases" 2>&1) || {
    status=$(status_in "$answer")
    # Not every server answers this kind of request.
    if [[ $status == 405 || $status == 501 ]]; then
      say "$SITE does not tell the time, so nobody knows whether the clock of this machine is right: it says $(date --utc '+%F %T') UTC."
      return 0
    fi
    refuse_status "$SITE/releases" "$status"
    refuse "$SITE does not answer" "$(curl_says "$answer")" \
      "See whether this machine reaches the network. Behind a proxy: export https_proxy and http_proxy, and use sudo -E."
  }
  date=$(last_header date "$answer")
  theirs=$(date --date="$date" +%s 2>/dev/null) && [[ $date ]] || return 0
  # A cache on the way tells when it got the answer, and how many seconds ago that was.
  age=$(last_header age "$answer")
  [[ ! $age =~ ^[0-9]{1,9}$ ]] || theirs=$((theirs + 10#$age))
  ours=$(date +%s)
  ((ours - theirs < 86400 && theirs - ours < 86400)) ||
    refuse "the clock of this machine says $(date --utc '+%F %T') UTC, and $SITE says $(date --utc --date="@$theirs" '+%F %T') UTC" \
      'With a wrong clock, no certificate can be checked.' 'Set it: timedatectl set-ntp true'
}

# last_header NAME ANSWER: its value in the last of the answers, as those before it send on to another place.
last_header() {
  awk -v start="^$1: *" '
    { sub(/\r$/, "") }
    /^HTTP\// { value = "" }
    tolower($0) ~ start { value = $0; sub(/^[^:]*: */, "", value) }
    END { print value }' <<<"$2"
}

# --- Changing ---------------------------------------------------------------------------------------------------------

install_packages() {
  # Kept in a file, as a run that is cut off would forget which packages were not there before.
  local record=$CACHE/installed-packages
  if ((${#missing[@]})); then
    say "Installing ${missing[*]} …"
    echo "${missing[*]}" >>"$record"
    apt_get update
    apt_get install --no-install-recommends "${missing[@]}"
  fi
  added=$([[ ! -e $record ]] || tr '\n' ' ' <"$record")
}

# Another apt may run, as it does for minutes after a machine's first boot; registries have bad moments. apt can wait for its locks
# itself, but not for that of its lists, and says nothing meanwhile.
apt_get() {
  local failures=0 said='' has_said='' end=$((SECONDS + 300))
  while true; do
    said=$(DEBIAN_FRONTEND=noninteractive apt-get --yes --quiet -o Acquire::Retries=3 "$@" 2>&1 </dev/null) && return
    if [[ $said == *'Could not get lock'* ]]; then
      ((SECONDS < end)) ||
        refuse "another program has used apt for five minutes" "apt-get $1 says: $(grep -m 1 'Could not get lock' <<<"$said")" \
        "See what it does (ps -C apt-get,apt,dpkg,unattended-upgr), and then repeat $SELF."
      [[ $has_said ]] || say 'Another program uses apt. Waiting until it is done, for five minutes at most …'
      has_said=1
      sleep 2
      continue
    fi
    ((++failures < 3)) || break
    sleep 5
  done
  refuse "apt-get $1 has failed three times" "It says: $(tail -n 5 <<<"$said")" "See whether 'apt-get $1' works, and then repeat $SELF."
}

# A redirect may not lead from https to http; a connection that says nothing for half a minute is dead.
readonly curl_options=(--fail --location --silent --show-error --proto-redir "=https$([[ $SITE == https:* ]] || echo ,http)" --connect-timeout 20
  --speed-limit 1000 --speed-time "${TLJH_TS_PATIENCE:-30}")
# What curl writes at the end: what the site answered, and a proxy before it.
readonly STATUS='%{stderr}\nHTTP %{http_code} %{http_connect}\n'

# The last of the two that was an answer; 000 where there was none.
status_in() { awk '/^HTTP [0-9]+ [0-9]+$/ { status = $2 + 0 ? $2 : $3 } END { print status }' <<<"$1"; }

curl_says() { echo "curl says: $(sed -n 's/^curl: //p' <<<"$1")"; }

# refuse_status URL STATUS: where the status says enough.
refuse_status() {
  case $2 in
    407) refuse "the proxy wants a password before it passes $1 on" 'It answers 407.' \
      'Name it with the proxy: export http_proxy=http://NAME:PASSWORD@PROXY:PORT, https_proxy likewise, and use sudo -E.' ;;
    408 | 429 | 5??) refuse "$1 cannot be had now" "The site, or a proxy before it, answers $2." \
      "That passes as a rule. Repeat $SELF later: it goes on where it was." ;;
    4??) [[ $2 == 416 ]] || refuse "$1 is not there" "The site answers $2." 'Ask whoever keeps the site.' ;;
  esac
}

fetch_release() {
  fetch releases
  fetch releases.sig
  verify "$CACHE/releases" "$SITE/releases"
  resolve_version
  if [[ $installed && $installed != "$version" ]]; then
    refuse "tljh-ts $installed is installed on this machine" "This would be $version, and an upgrade keeps servers running." \
      'Use: sudo tljh-ts upgrade'
  fi
  folder=$prefix/hub/versions/$version
  # It is there whole or not at all.
  [[ ! -e $folder ]] || return 0
  local name=tljh-ts-$version-linux-$arch.tar.gz attempt
  fetch "$version/SHA256SUMS"
  fetch "$version/SHA256SUMS.sig"
  verify "$CACHE/SHA256SUMS" "$SITE/$version/SHA256SUMS"
  for attempt in 1 2; do
    if ! has_checksum "$CACHE/$name" "$CACHE/SHA256SUMS"; then
      ((attempt == 1)) && say "Downloading tljh-ts $version …"
      fetch "$version/$name" resume
    fi
    if has_checksum "$CACHE/$name" "$CACHE/SHA256SUMS"; then
      unpack "$CACHE/$name"
      rm "$CACHE/$name"
      return
    fi
    rm "$CACHE/$name"
    ((attempt == 2)) || say 'What came is damaged. Downloading it once more …'
  done
  refuse "$name came damaged twice" 'Its checksum is not the signed one. Something on the way changes it, a proxy perhaps.' \
    "Nothing of it was kept or run. Repeat $SELF later, or from another network."
}

# fetch PATH [resume]: puts a file of the site into the cache. What a try before it got is kept for the next one, if told to.
fetch() {
  local target=$CACHE/${1##*/} part attempt said code status kept=0
  part=$target.part
  [[ ${2:-} ]] || rm -f "$part"
  rm -f "$target"
  for attempt in 1 2 3; do
    ((attempt == 1)) || sleep 2
    code=0
    said=$(curl "${curl_options[@]}" --continue-at - --write-out "$STATUS" --output "$part" "$SITE/$1" 2>&1) || code=$?
    status=$(status_in "$said")
    # 416: there is no more of it.
    if ((code == 0)) || [[ $status == 416 ]]; then
      mv "$part" "$target"
      return
    fi
    # What passes by itself may have passed at the next try.
    [[ $status == 408 || $status == 429 || $status == 5?? ]] || refuse_status "$SITE/$1" "$status"
    # 33: the site sends a file whole or not at all.
    ((code != 33)) || rm -f "$part"
  done
  refuse_status "$SITE/$1" "$status"
  [[ ! -e $part ]] || kept=$(($(stat --format=%s "$part") / 1000000))
  refuse "the download of $SITE/$1 was broken off" "$(curl_says "$said")" \
    "See whether this machine reaches the network and has room in $CACHE, and repeat $SELF: it goes on where it was ($kept MB are here)."
}

# verify FILE NAME: whether FILE.sig beside it is a signature of ours.
verify() {
  ssh-keygen -q -Y verify -f <(echo "$SIGNERS") -I tljh-ts -n tljh-ts-release -s "$1.sig" <"$1" >/dev/null 2>&1 ||
    refuse "$2 has no valid signature" 'It was not signed with the key that this script has, or was changed since.' \
      'Nothing of it was run. Fetch install.sh anew from where you trust it; if that does not help, tell whoever keeps the site.'
}

# has_checksum FILE SUMS: whether FILE is there and is the one of that name in SUMS.
has_checksum() {
  local sum
  sum=$(awk -v name="${1##*/}" '$2 == name { print $1 }' "$2")
  [[ $sum ]] || refuse "${1##*/} is not in SHA256SUMS" 'There is no release for this machine.' 'Choose another --version.'
  [[ -e $1 ]] && sha256sum --check --status <<<"$sum  $1"
}

# latest, 1 and 1.2 mean the newest that is not a preliminary version; those are named in full.
resolve_version() {
  local wanted=$version full='^[0-9]+\.[0-9]+\.[0-9]+$'
  case $wanted in
    latest) version=$(grep -E "$full" "$CACHE/releases" | sort -V | tail -n 1 || true) ;;
    *) version=$(grep -Fx -e "$wanted" "$CACHE/releases" || true) ;;
  esac
  if [[ ! $version && $wanted =~ ^[0-9]+(\.[0-9]+)?$ ]]; then
    version=$(grep -E "$full" "$CACHE/releases" | grep -E "^${wanted//./\\.}\." | sort -V | tail -n 1 || true)
  fi
  [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] ||
    refuse "there is no version $wanted" "The site has: $(tail -n 10 "$CACHE/releases" | tr '\n' ' ')" 'Choose one of these with --version.'
}

take_archive() {
  local beside top
  beside=$(dirname "$offline")
  top=$(tar --list --gzip --file "$offline" 2>/dev/null | head -n 1 || true)
  [[ $top =~ ^tljh-ts-([0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?)/ ]] ||
    refuse "$offline is no release of tljh-ts" 'It does not begin as one does.' 'Fetch tljh-ts-VERSION-linux-ARCH.tar.gz from the site.'
  version=${BASH_REMATCH[1]}
  if [[ $installed && $installed != "$version" ]]; then
    refuse "tljh-ts $installed is installed on this machine" "This would be $version." 'See: tljh-ts upgrade --help'
  fi
  folder=$prefix/hub/versions/$version
  if [[ -e $beside/SHA256SUMS && -e $beside/SHA256SUMS.sig ]]; then
    verify "$beside/SHA256SUMS" "$beside/SHA256SUMS"
    has_checksum "$offline" "$beside/SHA256SUMS" ||
      refuse "$offline is damaged" 'Its checksum is not the signed one.' 'Copy it anew.'
  else
    say "NOT VERIFIED: SHA256SUMS and SHA256SUMS.sig do not lie beside $offline, so nobody can tell whose it is."
  fi
  [[ -e $folder ]] || unpack "$offline"
}

unpack() {
  local part=$prefix/hub/versions/.$version.part said
  rm -rf "$part"
  mkdir "$part"
  said=$(tar --extract --gzip --no-same-owner --strip-components=1 --directory="$part" --file="$1" 2>&1) ||
    refuse "$1 could not be unpacked" "tar says: ${said%%$'\n'*}" "Make room in $prefix, and repeat $SELF."
  grep -q "\"arch\": \"$arch\"" "$part/release.json" || {
    rm -rf "$part"
    refuse "$1 is not for this machine" "This machine needs the one for $arch." 'Take that.'
  }
  sync --file-system "$part"
  mv --no-target-directory "$part" "$folder"
}

hand_over() {
  local program=("$folder/node_modules/node/bin/node" --disable-warning=ExperimentalWarning "$folder/tljh-ts.ts")
  [[ ! ${added:-} ]] || passed_on+=(--installed-packages "$added") import_options+=(--installed-packages "$added")
  if [[ $import ]]; then
    # It shows its plan and asks; what is read here is this script, or its end.
    if [[ -t 2 && -r /dev/tty ]]; then exec </dev/tty; fi
    exec "${program[@]}" import-tljh "${import_options[@]}"
  fi
  exec "${program[@]}" install "${passed_on[@]}"
}

say() { echo "$1" >&2; }

# refuse WHAT WHY WHAT-TO-DO
refuse() {
  printf 'tljh-ts was not installed: %s.\n  why: %s\n  what to do: %s\n' "$1" "$2" "$3" >&2
  exit 1
}

main "$@"
exit
}
