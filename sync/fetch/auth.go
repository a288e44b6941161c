package fetch

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Auth says where the credentials of one remote are. The files are read anew
// for every request, so that a rotated one is used at once.
type Auth struct {
	TokenFile string // HTTP: a token, or user:password
	KeyFile   string // SSH: a private key without a passphrase
	HostKey   string // SSH: the server's key, as in known_hosts or a .pub file
}

// Secret is what Auth's files hold. It cannot be printed by accident.
type Secret struct {
	Token   string `json:"token,omitempty"`
	Key     string `json:"key,omitempty"`
	HostKey string `json:"hostKey,omitempty"`
}

// String hides the content.
func (Secret) String() string { return "[secret]" }

// GoString hides the content.
func (Secret) GoString() string { return "[secret]" }

// LogValue hides the content.
func (Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// secretLimit is far above any key or token.
const secretLimit = 64 << 10

// Load reads the files. The error names a file, never what is in it.
func (a Auth) Load() (Secret, error) {
	s := Secret{HostKey: a.HostKey}
	for _, f := range []struct {
		path string
		into *string
	}{{a.TokenFile, &s.Token}, {a.KeyFile, &s.Key}} {
		if f.path == "" {
			continue
		}
		b, err := readCapped(f.path, secretLimit)
		if err != nil {
			return Secret{}, &Error{Class: "auth", Text: oneLine("credential: " + err.Error()), Err: err}
		}
		*f.into = string(b)
	}
	s.Token = strings.TrimSpace(s.Token)
	if strings.ContainsFunc(s.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Secret{}, fail("auth", "token file %s holds more than one printable word", a.TokenFile)
	}
	return s, nil
}

func readCapped(path string, limit int64) ([]byte, error) {
	// Without O_NONBLOCK a FIFO, left in its place by whatever ran here before,
	// would hold this process for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is not a regular file", path), err)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is over %d bytes", path, limit)
	}
	return b, nil
}
