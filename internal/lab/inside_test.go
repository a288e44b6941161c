package lab

import "testing"

// Tests of other packages that need a systemd of their own run in a machine.
// They are those that look for PULLNODE_LAB=inside.
func TestInside(t *testing.T) {
	each(t, func(t *testing.T, release string) {
		ctx, h, _ := installed(t, Options{Release: release}, Config{Gen: "A"})
		for _, pkg := range []string{"pullnode/activate/systemd"} {
			t.Run(pkg, func(t *testing.T) {
				bin, err := GoTestBinary(ctx, pkg)
				if err != nil {
					t.Fatal(err)
				}
				if err := h.Copy(bin, "/opt/inside.test"); err != nil {
					t.Fatal(err)
				}
				out, err := h.Run(ctx, "env", "PULLNODE_LAB=inside", "/opt/inside.test", "-test.v", "-test.run=TestInside")
				if err != nil {
					t.Errorf("%v\n%s", err, out)
				}
				t.Log(out)
			})
		}
	})
}
