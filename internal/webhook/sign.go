package webhook

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Intercom and Segment sign with HMAC-SHA1
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Sign adds to header what a sender of this kind sends to prove a request, as of a moment. It is written
// without the verifier's code, so that the two check each other; url is the sender's, with its query.
func Sign(v Verify, secret string, header http.Header, method, url string, body []byte, at time.Time) error {
	return SignAll(v, []string{secret}, header, method, url, body, at)
}

// TakesSeveral reports whether one header of this kind can hold a signature by each of several secrets.
func TakesSeveral(v Verify) bool {
	return v.Kind == "stripe" || (v.Kind == "" || v.Kind == "hmac" || v.Kind == "hash") && (v.Format == "kv" || v.Format == "list")
}

// SignAll is Sign by a sender that rotates its secrets: one header, with a signature by each, in their order.
func SignAll(v Verify, secrets []string, header http.Header, method, url string, body []byte, at time.Time) error {
	if len(secrets) != 1 && !TakesSeveral(v) {
		return fmt.Errorf("sign: one header takes one signature, not %d", len(secrets))
	}
	switch v.Kind {
	case "none", "path_token":
		return nil
	case "token":
		header.Set(v.Header, v.Prefix+secrets[0])
		return nil
	case "stripe":
		signStripeAll(header, secrets, body, at)
		return nil
	}
	ts := signedTime(v, at)
	if v.TSHeader != "" {
		header.Set(v.TSHeader, ts)
	}
	var signatures [][]byte
	for _, secret := range secrets {
		signed, err := signedText(v, secret, header, method, url, ts, body)
		if err != nil {
			return err
		}
		signature, err := signatureOf(v, secret, signed)
		if err != nil {
			return err
		}
		signatures = append(signatures, signature)
	}
	header.Set(v.Header, signatureHeader(v, signatures, ts))
	return nil
}

// signStripeAll adds the second and later signatures, v1=…, behind the first header.
func signStripeAll(header http.Header, secrets []string, body []byte, at time.Time) {
	var all string
	for _, secret := range secrets {
		for name, values := range SignStripe(body, secret, at) {
			header[name] = values
		}
		own := header.Get("Stripe-Signature")
		if _, signature, _ := strings.Cut(own, ","); all != "" {
			own = all + "," + signature
		}
		all = own
	}
	header.Set("Stripe-Signature", all)
}

func signedTime(v Verify, at time.Time) string {
	switch v.TSUnit {
	case "ms":
		return strconv.FormatInt(at.UnixMilli(), 10)
	case "rfc3339":
		return at.UTC().Format(time.RFC3339)
	default:
		return strconv.FormatInt(at.Unix(), 10)
	}
}

// signedText replaces the placeholders from left to right, so that none in the body counts.
func signedText(v Verify, secret string, header http.Header, method, url, ts string, body []byte) ([]byte, error) {
	if v.BodySelect == "first_array_element" {
		var batch []json.RawMessage
		if json.Unmarshal(body, &batch) == nil && len(batch) > 0 {
			body = batch[0]
		}
	}
	known := map[string]string{"body": string(body), "ts": ts, "method": method, "url": url, "secret": secret}
	var signed strings.Builder
	for rest := v.Signed; rest != ""; {
		before, after, found := strings.Cut(rest, "{")
		signed.WriteString(before)
		if !found {
			break
		}
		name, after, _ := strings.Cut(after, "}")
		value, ok := known[name]
		if headerName, isHeader := strings.CutPrefix(name, "header:"); isHeader {
			value, ok = header.Get(headerName), true
		}
		if !ok {
			return nil, fmt.Errorf("sign: there is no placeholder {%s}", name)
		}
		signed.WriteString(value)
		rest = after
	}
	return []byte(signed.String()), nil
}

func signatureOf(v Verify, secret string, signed []byte) ([]byte, error) {
	newHash := map[string]func() hash.Hash{"": sha256.New, "sha256": sha256.New, "sha1": sha1.New, "sha512": sha512.New}[v.Algorithm]
	if v.Kind == "hash" {
		sum := newHash()
		sum.Write(signed)
		return sum.Sum(nil), nil
	}
	key, err := signingKey(v, secret)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(newHash, key)
	mac.Write(signed)
	return mac.Sum(nil), nil
}

// signingKey reads the secret's text by the first coding that can.
func signingKey(v Verify, secret string) ([]byte, error) {
	if len(v.KeyCoding) == 0 {
		return []byte(secret), nil
	}
	rest := strings.TrimPrefix(secret, v.KeyPrefix)
	for _, coding := range v.KeyCoding {
		var key []byte
		var err error
		switch coding {
		case "hex":
			key, err = hex.DecodeString(rest)
		case "base64":
			if key, err = base64.StdEncoding.DecodeString(rest); err != nil {
				key, err = base64.RawURLEncoding.DecodeString(strings.TrimRight(rest, "="))
			}
		default:
			key = []byte(secret)
		}
		if err == nil {
			return key, nil
		}
	}
	return nil, fmt.Errorf("sign: the secret cannot be decoded as %s", strings.Join(v.KeyCoding, " or "))
}

func signatureHeader(v Verify, signatures [][]byte, ts string) string {
	separator, key := v.PairSep, v.SigKey
	var entries []string
	switch v.Format {
	case "kv":
		separator = cmp.Or(separator, ",")
		key += "="
		if v.TSKey != "" {
			entries = append(entries, v.TSKey+"="+ts)
		}
	case "list":
		separator = cmp.Or(separator, " ")
		key = cmp.Or(key, "v1") + ","
	default:
		key = ""
	}
	for _, signature := range signatures {
		text := hex.EncodeToString(signature)
		switch v.Encoding {
		case "base64":
			text = base64.StdEncoding.EncodeToString(signature)
		case "base64url":
			text = base64.RawURLEncoding.EncodeToString(signature)
		}
		entries = append(entries, key+v.Prefix+text)
	}
	return strings.Join(entries, separator)
}
