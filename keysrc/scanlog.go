package keysrc

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"pullnode/internal/durable"
)

// ScanLog remembers which store paths were scanned for what. It has no value, only
// a digest under a key of its own, so that who reads the file cannot try guesses
// without that key.
type ScanLog struct {
	path string
	data scanData
	had  map[string]bool
}

type scanData struct {
	Key   []byte   `json:"key"`   // of the digest, random
	Set   []byte   `json:"set"`   // digest of what was looked for
	Paths []string `json:"paths"` // that had none of it
}

// OpenScanLog reads the file at path. One that is missing or damaged is as if
// nothing had been scanned.
func OpenScanLog(path string) (*ScanLog, error) {
	l := &ScanLog{path: path, had: map[string]bool{}}
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := json.Unmarshal(raw, &l.data); err != nil || len(l.data.Key) != sha256.Size {
		l.data = scanData{Key: make([]byte, sha256.Size)}
		rand.Read(l.data.Key)
	}
	for _, p := range l.data.Paths {
		l.had[p] = true
	}
	return l, nil
}

// For makes the log one of scans with this look, and says whether that is another
// than before, so that everything is to be scanned again.
func (l *ScanLog) For(look Look) (changed bool) {
	sum := look.digest(l.data.Key)
	if hmac.Equal(sum, l.data.Set) {
		return false
	}
	l.data.Set, l.data.Paths, l.had = sum, nil, map[string]bool{}
	return true
}

// New gives those of paths that were not scanned.
func (l *ScanLog) New(paths []string) []string {
	return slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return l.had[p] })
}

// Save replaces the scanned paths by these.
func (l *ScanLog) Save(paths []string) error {
	l.data.Paths = slices.Compact(slices.Sorted(slices.Values(paths)))
	raw, err := json.Marshal(l.data)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(l.path, raw, 0o600); err != nil {
		return fmt.Errorf("remember what was scanned: %w", err)
	}
	return nil
}

// digest is the same for the same look, in whatever order its lists are.
func (l Look) digest(key []byte) []byte {
	mac := hmac.New(sha256.New, key)
	field := func(b []byte) {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		mac.Write(b)
	}
	fmt.Fprintf(mac, "ssh %t only %d %t values %d\n", l.SSH, len(l.Only), l.Only == nil, len(l.Values))
	for _, o := range slices.Sorted(slices.Values(l.Only)) {
		field([]byte(o))
	}
	values := slices.Clone(l.Values)
	slices.SortFunc(values, func(a, b Value) int { return bytes.Compare(a.text, b.text) })
	for _, v := range values {
		field(v.text)
	}
	return mac.Sum(nil)
}
