#!/bin/sh
# Unpacks real etcd (etcd, etcdctl, etcdutl) from Debian's packages into a folder. Nothing is installed on the machine.
#
#   scripts/install-etcd.sh [DIR] [SUITE ...]      DIR defaults to .cache/etcd, SUITE to trixie and sid
#
#   trixie     etcd 3.5.16      the older of the two that the compatibility tests hold Walnut against
#   sid        etcd 3.5.30 or a newer 3.5, the version whose behaviour Walnut serves
#   bookworm   etcd 3.4.23
#
# The packages come from the Debian mirror that this machine's own apt is set up with, checked against Debian's keys.
# The binaries end up in DIR/SUITE/usr/bin; that folder is printed, one line for each suite. A suite that is there
# already is left alone.
set -eu

fail() {
  echo "install-etcd: $*" >&2
  exit 1
}

here=$(cd "$(dirname "$0")/.." && pwd)
target=${1:-$here/.cache/etcd}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- trixie sid

for tool in apt-get apt-cache dpkg-deb; do
  command -v "$tool" >/dev/null || fail "$tool is missing: this script needs Debian or one of its children"
done
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || fail "$keyring is missing: run 'apt-get install debian-archive-keyring'"

# apt itself says where its Debian packages come from; the security archive does not carry whole suites.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep '/debian/*$' | head -n 1)
[ -n "$mirror" ] || fail "apt knows no Debian mirror (no address that ends in /debian among its sources)"

mkdir -p "$target"
target=$(cd "$target" && pwd)

unpack() {
  suite=$1
  want=$2
  home=$target/$suite
  if [ -x "$home/usr/bin/etcd" ] && [ -e "$home/.complete" ]; then
    echo "$home/usr/bin"
    return
  fi
  # An apt of our own: its lists and cache lie beside the binaries, so neither root nor the machine's state is needed.
  own=$target/.apt/$suite
  rm -rf "$own" "$home"
  mkdir -p "$own/lists/partial" "$own/cache/archives/partial" "$home"
  echo "deb [signed-by=$keyring] $mirror $suite main" >"$own/sources.list"
  : >"$own/status"
  cat >"$own/apt.conf" <<CONF
Dir::Etc::SourceList "$own/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "$own/lists";
Dir::State::Status "$own/status";
Dir::Cache "$own/cache";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
  APT_CONFIG=$own/apt.conf
  export APT_CONFIG
  apt-get -qq update >&2 || fail "cannot read the package lists of $suite from the mirror that apt is set up with"
  for package in etcd-server etcd-client; do
    version=$(apt-cache madison "$package" | sed 's/ //g' | cut -d'|' -f2 | head -n 1)
    case $version in
    $want) ;;
    '') fail "$suite has no $package" ;;
    *) fail "$suite now has $package $version where the tests need $want: choose another suite, or teach the tests that version" ;;
    esac
    (cd "$own" && apt-get -qq download "$package=$version" >&2) || fail "cannot download $package $version of $suite"
    dpkg-deb -x "$own/${package}_"*.deb "$home" || fail "cannot unpack $package $version"
  done
  unset APT_CONFIG
  "$home/usr/bin/etcd" --version >&2 || fail "$home/usr/bin/etcd does not run on this machine"
  rm -rf "$own"
  : >"$home/.complete"
  echo "$home/usr/bin"
}

for suite in "$@"; do
  case $suite in
  bookworm) unpack "$suite" '3.4.*' ;;
  trixie | sid) unpack "$suite" '3.5.*' ;;
  *) fail "no suite '$suite': choose trixie, sid or bookworm" ;;
  esac
done
