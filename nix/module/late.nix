# Whether a list of key sources has one that is not there before sysinit.target.
# What waits for it there waits for ever: systemd breaks the cycle by not installing
# the secrets at all.
builtins.any (
  s:
  builtins.elem (s.type or null) [
    "git"
    "server"
    "yubikey"
  ]
)
