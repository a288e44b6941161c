package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"pullnode/sync"
)

// job is what the child is told, once, on its standard input. The secrets come
// this way because arguments and environment of a process can be read by others.
type job struct {
	Want   sync.Want       `json:"want"`
	Remote sync.WantRemote `json:"remote"`
	Secret Secret          `json:"secret"`
	Repo   string          `json:"repo"`
	Answer string          `json:"answer"`
	Limits Limits          `json:"limits"`
}

const jobLimit = 1 << 20

// ChildMain is the child process of a fetch: it reads one job from in, limits
// itself, fetches, writes the answer and puts one sync.Report on out. It gives
// the exit status: 0 when a report was written, whatever it says.
//
// It is the body of a hidden verb of the program, which must do nothing else
// before or after.
func ChildMain(in io.Reader, out io.Writer) int {
	var j job
	dec := json.NewDecoder(io.LimitReader(in, jobLimit))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&j); err != nil {
		return 1
	}
	j.Limits = j.Limits.withDefaults()
	rep := sync.Report{Format: sync.StreamFormat, Request: j.Want.Request, Remote: j.Remote.Name}
	if err := limitSelf(j.Limits); err != nil {
		setError(&rep, local("limit the fetching process", err))
	} else {
		j.run(&rep)
	}
	b, err := encodeReport(rep)
	if err != nil {
		return 1
	}
	if _, err := io.Copy(out, bytes.NewReader(b)); err != nil {
		return 1
	}
	return 0
}

func (j *job) run(rep *sync.Report) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), j.Limits.Fetch, errDeadline)
	defer cancel()
	defer func() {
		// A parser that panics on hostile bytes is one failed fetch.
		if p := recover(); p != nil {
			setError(rep, fail(sync.BadData, "reading the data failed: %v", p))
		}
	}()
	c, err := Open(Options{Name: j.Remote.Name, URL: j.Remote.URL, Secret: j.Secret, Limits: j.Limits})
	if err != nil {
		setError(rep, err)
		return
	}
	defer c.Close()
	rep.Tip, err = j.fetch(ctx, c)
	rep.Bytes, rep.Protocol = c.Bytes(), c.Protocol()
	switch {
	case err != nil:
		setError(rep, classify(ctx, "fetch", err))
	case rep.Tip == j.Want.Known:
		rep.Class = sync.Unchanged
	default:
		rep.Class = sync.Moved
	}
}

// fetch asks for the tip again, over its own connection: between the poll and
// now the branch may have moved and the old tip be gone.
func (j *job) fetch(ctx context.Context, c Remote) (string, error) {
	tip, err := c.Tip(ctx, j.Want.Branch)
	if err != nil || tip == j.Want.Known {
		return tip, err
	}
	r, err := openRepo(j.Repo, j.Limits)
	if err != nil {
		return tip, err
	}
	defer r.close()
	kept := r.tip()
	if kept == "" {
		if err := r.reset(); err != nil {
			return tip, err
		}
	}
	err = j.bring(ctx, c, r, tip, kept)
	if kept != "" && suspect(err) && ctx.Err() == nil {
		// Perhaps what was kept is damaged. Without it, it cannot be that.
		if err := r.reset(); err != nil {
			return tip, err
		}
		err = j.bring(ctx, c, r, tip, "")
	}
	if err != nil && suspect(err) {
		err = errors.Join(err, r.reset())
	}
	return tip, err
}

func (j *job) bring(ctx context.Context, c Remote, r *repo, tip, kept string) error {
	if tip != kept {
		ask := Ask{Want: tip}
		if kept != "" {
			ask.Have = []string{kept}
		}
		if err := r.add(func(w io.Writer) error { return c.Pack(ctx, ask, w) }); err != nil {
			return err
		}
	}
	if err := r.writeAnswer(j.Answer, tip, j.Want); err != nil {
		return err
	}
	return r.setTip(tip)
}

// suspect says whether an error may come from what lies in the repository.
func suspect(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Class == sync.BadData || e.Class == sync.OverLimit)
}

// setError puts an error into a report.
func setError(rep *sync.Report, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Class: sync.Internal, Text: oneLine(err.Error())}
	}
	rep.Class, rep.Text, rep.HTTPStatus, rep.RetryAfter = e.Class, e.Text, e.HTTPStatus, e.RetryAfter
}

// encodeReport gives a report's JSON, which is below sync.ReportLimit whatever
// the server made the text.
func encodeReport(rep sync.Report) ([]byte, error) {
	rep.Text, rep.Remote = oneLine(rep.Text), oneLine(rep.Remote)
	if len(rep.Remote) > 100 {
		rep.Remote = rep.Remote[:100]
	}
	b, err := json.Marshal(rep)
	if err == nil && len(b) >= sync.ReportLimit {
		rep.Text = ""
		b, err = json.Marshal(rep)
	}
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return append(b, '\n'), nil
}
