package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pullnode/internal/durable"
)

// Ended is how systemd says a unit's main process ended: systemd.exec(5),
// "Environment Variables Set on Service Stop".
type Ended struct {
	Result string // $SERVICE_RESULT: success, exit-code, signal, timeout, oom-kill, ...
	Code   string // $EXIT_CODE: exited, killed, dumped; "-" when nothing ran
	Status string // $EXIT_STATUS: a number, or the name of a signal
}

// ErrNoResult means that there is no record: the run has not ended, or its end
// was not seen.
var ErrNoResult = errors.New("no result is recorded")

// Record is the verb "pullnode record <id>", which is the ExecStopPost= of each
// transient unit: it leaves how the unit ended in dir/result-<id>.
func Record(dir, id string, getenv func(string) string) error {
	if err := validID(id); err != nil {
		return err
	}
	var words []string
	for _, name := range []string{"SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS"} {
		w := getenv(name)
		if w == "" {
			w = "-"
		}
		words = append(words, w)
	}
	if words[0] == "-" {
		return errors.New("record: $SERVICE_RESULT is not set; only systemd calls this")
	}
	return durable.WriteFile(resultFile(dir, id), []byte(strings.Join(words, " ")+"\n"), 0o600)
}

func resultFile(dir, id string) string { return filepath.Join(dir, "result-"+id) }

// readRecord gives what Record left, or ErrNoResult.
func readRecord(dir, id string) (Ended, error) {
	raw, err := readRegular(resultFile(dir, id), 4096, false)
	if errors.Is(err, fs.ErrNotExist) {
		return Ended{}, ErrNoResult
	}
	if err != nil {
		return Ended{}, err
	}
	words := strings.Fields(string(raw))
	if len(words) != 3 {
		return Ended{}, fmt.Errorf("%s is not a result: %.40q", resultFile(dir, id), raw)
	}
	return Ended{words[0], words[1], words[2]}, nil
}

// exit is the exit status, if the process came to its own end.
func (e Ended) exit() (status int, ok bool) {
	if e.Code != "exited" {
		return 0, false
	}
	n, err := strconv.Atoi(e.Status)
	return n, err == nil
}

// removeRecord forgets an earlier run of the same name.
func removeRecord(dir, id string) error {
	err := os.Remove(resultFile(dir, id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// readRegular reads at most limit bytes of the regular file at path, its
// beginning or its end. A link, a FIFO or a device there is an error and not
// waited for.
func readRegular(path string, limit int64, tail bool) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	var from int64
	if size := st.Size(); tail && size > limit {
		from = size - limit
	}
	buf := make([]byte, min(limit, max(st.Size()-from, 0)))
	n, err := f.ReadAt(buf, from)
	if err != nil && n < len(buf) && n == 0 && len(buf) > 0 {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return buf[:n], nil
}
