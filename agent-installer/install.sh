#!/bin/sh
# Installs the agent on Linux (systemd) or macOS (launchd), or removes it. Run it as root.
#
#   --directory DIR   where the program goes            /opt/steelthread-agent
#   --home DIR        journal, identity, work directory /var/lib/steelthread-agent
#   --user NAME       whom the agent runs as            root
#   --no-service      copy the files only
#   --no-start        make the service, but do not start it
#   --debug           let the agent log debug events
#   --uninstall       stop and remove the service and the program; the home stays
#
# With DESTDIR set, files go below it and no service manager is spoken to (packaging).
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
destdir=${DESTDIR:-}
directory=/opt/steelthread-agent
home=/var/lib/steelthread-agent
user=root
uninstall=0
AUTO_START=1
RUN_AS_SERVICE=1
DEBUG=0
# Holds these three switches and nothing else, as 0 or 1.
[ ! -f "$here/install.conf" ] || . "$here/install.conf"

fail() {
  printf '%s\n' "$1" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  case $1 in
    --directory | --home | --user)
      [ $# -ge 2 ] || fail "$1 needs a value"
      case $1 in
        --directory) directory=$2 ;;
        --home) home=$2 ;;
        --user) user=$2 ;;
      esac
      shift
      ;;
    --no-service) RUN_AS_SERVICE=0 ;;
    --no-start) AUTO_START=0 ;;
    --debug) DEBUG=1 ;;
    --uninstall) uninstall=1 ;;
    -h | --help)
      sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *) fail "unknown option: $1 (--help lists them)" ;;
  esac
  shift
done

# These go into the service's definition as they are.
for path in "$directory" "$home"; do
  case $path in
    *[!A-Za-z0-9/._-]* | *..*) fail "a path may hold letters, digits, / . _ and - only: $path" ;;
    /?*) ;;
    *) fail "a path must be absolute: $path" ;;
  esac
done
case $user in
  '' | *[!A-Za-z0-9._-]*) fail "not a user name: $user" ;;
esac

system=$(uname -s)
if [ "$system" = Darwin ]; then
  definition=/Library/LaunchDaemons/com.steelthread.agent.plist
  template=com.steelthread.agent.plist
else
  definition=/etc/systemd/system/steelthread-agent.service
  template=steelthread-agent.service
fi
has_manager=0
if [ -z "$destdir" ]; then
  [ "$(id -u)" = 0 ] || fail 'Run this as root (sudo ./install.sh), or run the agent in the foreground: ./run.sh'
  if [ "$system" = Darwin ] || { command -v systemctl > /dev/null 2>&1 && [ -d /run/systemd/system ]; }; then
    has_manager=1
  fi
fi

stop_service() {
  [ "$has_manager" = 1 ] || return 0
  if [ "$system" = Darwin ]; then
    launchctl bootout system/com.steelthread.agent 2> /dev/null || true
  else
    systemctl disable --now steelthread-agent.service 2> /dev/null || true
  fi
}

if [ "$uninstall" = 1 ]; then
  stop_service
  rm -f "$destdir$definition"
  for name in run.sh config.json steelthread-agent.mjs steelthread_agent.py; do
    rm -f "$destdir$directory/$name"
  done
  rmdir "$destdir$directory" 2> /dev/null || true
  if [ "$has_manager" = 1 ] && [ "$system" != Darwin ]; then systemctl daemon-reload; fi
  echo "Removed. The agent's home is left: $destdir$home"
  exit 0
fi

mkdir -p "$destdir$directory" "$destdir$home"
chmod 755 "$destdir$directory"
chmod 711 "$destdir$home"
for name in run.sh steelthread-agent.mjs steelthread_agent.py; do
  if [ ! -f "$here/$name" ]; then
    # What an earlier package of the other kind left would be what runs.
    rm -f "$destdir$directory/$name"
    continue
  fi
  cp "$here/$name" "$destdir$directory/$name"
  chmod 755 "$destdir$directory/$name"
done
# It holds the enrolment token: nobody else reads it, not even for a moment.
(umask 077 && cat "$here/config.json" > "$destdir$directory/config.json")
chmod 600 "$destdir$directory/config.json"
if [ -z "$destdir" ] && [ "$user" != root ]; then
  id "$user" > /dev/null 2>&1 || fail "there is no user $user; make it first, for example: useradd --system $user"
  chown "$user" "$home" "$directory/config.json"
fi
echo "Installed in $destdir$directory"
[ "$RUN_AS_SERVICE" = 1 ] || exit 0

if [ "$DEBUG" = 1 ]; then arguments=--debug; else arguments=; fi
mkdir -p "$destdir$(dirname "$definition")"
sed -e "s|@DIRECTORY@|$directory|g" -e "s|@HOME@|$home|g" -e "s|@USER@|$user|g" -e "s|@ARGUMENTS@|$arguments|g" \
  -e '/<string><\/string>/d' -e 's| *$||' "$here/$template" > "$destdir$definition"
chmod 644 "$destdir$definition"
if [ "$has_manager" = 0 ]; then
  echo "The service is defined in $destdir$definition; no service manager was told."
  exit 0
fi

if [ "$system" = Darwin ]; then
  stop_service
  if [ "$AUTO_START" = 1 ]; then launchctl bootstrap system "$definition"; fi
else
  systemctl daemon-reload
  if [ "$AUTO_START" = 1 ]; then
    systemctl enable steelthread-agent.service
    systemctl restart steelthread-agent.service
  fi
fi
[ "$AUTO_START" = 1 ] && echo 'The service runs.' || echo 'The service is ready to be started.'
