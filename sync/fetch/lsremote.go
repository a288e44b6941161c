package fetch

import "context"

// LsRemote asks a remote for the tip of branch over a new connection, with the
// credentials that Auth names, and closes it: it shows that name service, route,
// server and login work now, which a kept connection would not. The error is an
// *Error. A missing branch is one too.
func LsRemote(ctx context.Context, o Options, a Auth, branch string) error {
	s, err := a.Load()
	if err != nil {
		return err
	}
	o.Secret = s
	c, err := Open(o)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Tip(ctx, branch)
	return err
}
