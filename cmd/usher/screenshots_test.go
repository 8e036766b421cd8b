package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

var screenshots = flag.String("screenshots", "", "where TestScreenshots writes its pictures, see make screenshots")

// mostPicture is how large a picture may be that everybody fetches with the code.
const mostPicture = 150 << 10

// TestScreenshots takes the pictures that the README shows.
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip(`only for "make screenshots"`)
	}
	h := openHouse(t, furnished)
	inEveryState(h)
	h.until("what is overdue has expired", func() bool {
		return h.count(`select count(*) from invitations where state = 'sent' and expires_at < $1`, time.Now().UnixMilli()) == 0
	})
	b := h.enter()
	list := func() {
		b.fill("Addresses", "email,groups,note\ngrace1@hopper.example,,\nlise@meitner.example,1042,from the fair\nboss@acme.example,,\nhomer@globex.example,,\nnot-an-address,,\nemmy@noether.example,,speaker\n")
		b.click("Show what would happen")
		b.see("people to invite")
	}
	try := func() {
		b.fill("Changed configuration", "access:\n- when: event.amount > 1000 and event.email endsWith \"@knuth.example\"\ndecision: hold\n")
		b.click("Try it")
		b.see("decided differently")
	}
	for _, shot := range []struct {
		name   string
		path   string
		do     func() // before the picture is taken
		scheme string // light when empty
		width  int64  // 1280 when 0
		height int64  // 800 when 0
	}{
		{name: "overview", path: "/admin", height: 1330},
		{name: "overview-dark", path: "/admin", scheme: "dark", height: 1330},
		{name: "invitations", path: "/admin/invitations"},
		{name: "invitations-phone", path: "/admin/invitations", width: phoneWidth, height: 844},
		{name: "invitation", path: fmt.Sprint("/admin/invitations/", h.invitation("ada@lovelace.example", "queued")), height: 1000},
		{name: "invite", path: "/admin/invite", do: func() { b.fill("Address", "lise@meitner.example"); b.see("A new invitation.") }},
		{name: "list", path: "/admin/invite", do: list},
		{name: "source", path: "/admin/sources/stripe", height: 1000},
		{name: "rules", path: "/admin/rules", do: try},
	} {
		b.window(cmp.Or(shot.width, 1280), cmp.Or(shot.height, 800))
		b.media(cmp.Or(shot.scheme, "light"))
		b.visit(shot.path)
		if shot.do != nil {
			shot.do()
		}
		b.save(shot.name)
	}
}

// save writes what there is to see, packed as tightly as PNG can, without the room of a scrollbar that is not shown.
func (b *tab) save(name string) {
	b.t.Helper()
	picture, err := png.Decode(bytes.NewReader(b.shot()))
	b.must("read the picture", err)
	width, err := chromedp.Run(b.ctx, chromedp.Evaluate[int]("Math.ceil(document.body.getBoundingClientRect().right)"))
	b.must("measure the page", err)
	page := image.NewNRGBA(image.Rect(0, 0, width, picture.Bounds().Dy()))
	draw.Draw(page, page.Bounds(), picture, image.Point{}, draw.Src)
	var packed bytes.Buffer
	b.must("pack the picture", (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&packed, page))
	if packed.Len() > mostPicture {
		b.t.Errorf("%s.png has %d bytes, more than %d", name, packed.Len(), mostPicture)
	}
	b.must("write the picture", os.WriteFile(filepath.Join(*screenshots, name+".png"), packed.Bytes(), 0o644))
}
