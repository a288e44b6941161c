package systemd

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"pullnode/activate"
)

// families is D-Bus type (bas): false would list what is allowed not.
type families struct {
	Allow bool
	Names []string
}

// jobProps is the sandbox of a job.
func (r *Runner) jobProps(unit string, j activate.Job, nixGroup bool) []dbus.Property {
	af := []string{"AF_UNIX"}
	if j.Network {
		af = append(af, "AF_INET", "AF_INET6", "AF_NETLINK")
	}
	props := []dbus.Property{
		prop("Description", "pullnode: "+j.Name),
		prop("Type", "exec"),
		prop("CollectMode", "inactive-or-failed"),
		prop("RuntimeMaxUSec", usec(j.Timeout)),
		prop("TimeoutStopUSec", usec(10*time.Second)),
		prop("OOMPolicy", "kill"),
		prop("CPUWeight", uint64(20)),
		prop("IOWeight", uint64(20)),
		prop("LimitFSIZE", r.FileMax),
	}
	props = append(props, r.jobUser(j)...)
	props = append(props,
		prop("PrivateNetwork", !j.Network),
		prop("RestrictAddressFamilies", families{true, af}),
		prop("ProtectProc", "invisible"),
		prop("PrivateDevices", true),
		prop("ProtectClock", true),
		prop("ProtectHostname", true),
		prop("ProtectControlGroups", true),
		prop("ProtectKernelLogs", true),
		prop("ProtectKernelModules", true),
		prop("ProtectKernelTunables", true),
		prop("LockPersonality", true),
		prop("RestrictRealtime", true),
		prop("RestrictNamespaces", uint64(0)),
		prop("CapabilityBoundingSet", uint64(0)),
		prop("SystemCallArchitectures", []string{"native"}),
		prop("UMask", uint32(0o077)),
		// Not StandardOutput=truncate: systemd opens the files again for
		// ExecStopPost= and would truncate what the job wrote (systemd.exec(5)).
		// The runner removes them before it starts the unit.
		prop("StandardOutputFileToAppend", r.file(unit, ".out")),
		prop("StandardErrorFileToAppend", r.file(unit, ".err")),

		run("ExecStart", j.Argv...),
		// Outside the sandbox and as root, into a directory that the job cannot
		// write: what "+" before the command means in a unit file. The property
		// that has a flag for it must not be used, see command; this old one
		// does the same for all commands but ExecStart=.
		prop("PermissionsStartOnly", true),
		try("ExecStopPost", r.Pullnode, "record", unit),
	)
	if nixGroup && j.User == "" {
		props = append(props, prop("SupplementaryGroups", []string{r.NixGroup}))
	}
	if r.MemoryMax > 0 {
		props = append(props, prop("MemoryMax", r.MemoryMax), prop("MemorySwapMax", uint64(0)))
	}
	if len(j.Credentials) > 0 {
		var list []credential
		for _, name := range slices.Sorted(maps.Keys(j.Credentials)) {
			list = append(list, credential{name, j.Credentials[name]})
		}
		props = append(props, prop("LoadCredential", list))
	}
	return props
}

// credential is D-Bus type (ss).
type credential struct{ Name, Path string }

// jobUser says who the job is and what of the machine's files it sees.
func (r *Runner) jobUser(j activate.Job) []dbus.Property {
	if j.User != "" {
		return []dbus.Property{
			prop("User", j.User),
			// What DynamicUser= below brings with it. The user's home can be read:
			// why else name a user.
			prop("ProtectSystem", "strict"),
			prop("ProtectHome", "read-only"),
			prop("PrivateTmp", true),
			prop("NoNewPrivileges", true),
			prop("RestrictSUIDSGID", true),
			prop("Environment", append([]string{"LANG=C.UTF-8", "PATH=" + r.Path}, r.Env...)),
		}
	}
	name := account(j.Name)
	return []dbus.Property{
		prop("DynamicUser", true),
		// One user per kind of job and not per unit: systemd would give the
		// whole cache a new owner at each start.
		prop("User", name),
		prop("ProtectHome", "yes"),
		prop("CacheDirectory", []string{name}),
		prop("CacheDirectoryMode", uint32(0o700)),
		prop("Environment", r.jobEnv(filepath.Join(r.Cache, name))),
		prop("WorkingDirectory", filepath.Join(r.Cache, name)),
	}
}

// account is the user's name of a kind of job. systemd takes 31 characters of
// lower case; a name that does not fit becomes its hash.
func account(job string) string {
	if len(job) <= 22 && strings.ToLower(job) == job {
		return "pullnode-" + job
	}
	return fmt.Sprintf("pullnode-%x", sha256.Sum256([]byte(job)))[:31]
}

func (r *Runner) jobEnv(home string) []string {
	env := append([]string{"NIX_REMOTE=daemon", "LANG=C.UTF-8", "PATH=" + r.Path}, homeEnv(home)...)
	return append(env, r.Env...)
}

// homeEnv are the variables that nix finds its caches and settings by.
func homeEnv(home string) []string {
	return []string{
		"HOME=" + home,
		"XDG_CACHE_HOME=" + filepath.Join(home, "cache"),
		"XDG_CONFIG_HOME=" + filepath.Join(home, "config"),
		"XDG_DATA_HOME=" + filepath.Join(home, "data"),
		"XDG_STATE_HOME=" + filepath.Join(home, "state"),
	}
}

// lookPath finds the program in path, or in $PATH when path is empty, and
// follows links, so that what is found stays the same when a profile moves.
func lookPath(program, path string) (string, error) {
	if !filepath.IsAbs(program) {
		if path == "" {
			path = os.Getenv("PATH")
		}
		found := ""
		for _, dir := range filepath.SplitList(path) {
			p := filepath.Join(dir, program)
			if st, err := os.Stat(p); filepath.IsAbs(dir) && err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
				found = p
				break
			}
		}
		if found == "" {
			return "", fmt.Errorf("no program %q in %s", program, path)
		}
		program = found
	}
	// Only the directory: nix and busybox tell by argv[0] what they are.
	dir, err := filepath.EvalSymlinks(filepath.Dir(program))
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, filepath.Base(program)), nil
}
