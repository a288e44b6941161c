package fetch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"pullnode/sync"
)

// wantLimit is far above any list of remotes.
const wantLimit = 64 << 10

// errOtherFormat is a want of another version of the program: it is dropped, the
// agent will write one that fits.
var errOtherFormat = errors.New("want has another format")

// readWant reads and checks a request. It gives the error of opening the file
// unchanged, so that a missing one can be told.
func readWant(path string) (sync.Want, error) {
	var w sync.Want
	b, err := readCapped(path, wantLimit)
	if err != nil {
		return w, err
	}
	var v struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return w, fmt.Errorf("want: %w", err)
	}
	if v.Format != sync.StreamFormat {
		return w, errOtherFormat
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		return w, fmt.Errorf("want: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return w, errors.New("want: there is more after its end")
	}
	return w, checkWant(w)
}

func checkWant(w sync.Want) error {
	if len(w.Remotes) == 0 || len(w.Remotes) > 16 {
		return fmt.Errorf("want: %d remotes, 1 to 16 are served", len(w.Remotes))
	}
	for _, id := range append([]string{w.Known, w.Trusted}, w.TrustedParents...) {
		if id != "" && !isID(id) {
			return fmt.Errorf("want: %.60q is no commit id", id)
		}
	}
	return checkBranch(w.Branch)
}
