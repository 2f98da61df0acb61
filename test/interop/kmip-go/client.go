package main

import (
	"errors"

	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipclient"
	"github.com/ovh/kmip-go/ttlv"
)

const tagBytes = 16

// parameters are what the Go original of the plugin sends.
var parameters = kmip.CryptographicParameters{
	BlockCipherMode:        kmip.BlockCipherModeGCM,
	CryptographicAlgorithm: kmip.CryptographicAlgorithmAES,
	IVLength:               12,
	TagLength:              tagBytes,
}

func client(address, certFile, keyFile, caFile, version string) error {
	connection, err := kmipclient.Dial(address,
		kmipclient.WithClientCertFiles(certFile, keyFile),
		kmipclient.WithRootCAFile(caFile),
		kmipclient.EnforceVersion(versionOf(version)),
	)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	return answerLines(func(asked request) reply {
		answer, err := act(connection, asked)
		if err != nil {
			return reply{Failed: err.Error()}
		}
		return answer
	})
}

// act carries out one request, with the tag where the Go original has it: in its field from KMIP 1.4 on.
func act(connection *kmipclient.Client, asked request) (reply, error) {
	hasTagField := ttlv.CompareVersions(connection.Version(), kmip.V1_4) >= 0
	switch asked.Do {
	case "locate":
		found, err := connection.Locate().WithName(asked.Name).Exec()
		if err != nil {
			return reply{}, err
		}
		if len(found.UniqueIdentifier) != 1 {
			return reply{}, errors.New("not one key")
		}
		return reply{ID: found.UniqueIdentifier[0]}, nil
	case "encrypt":
		made, err := connection.Encrypt(asked.ID).
			WithCryptographicParameters(parameters).WithIvCounterNonce(asked.IV).Data(asked.Data).Exec()
		if err != nil {
			return reply{}, err
		}
		data, tag := made.Data, made.AuthenticatedEncryptionTag
		if !hasTagField {
			data, tag = data[:len(data)-tagBytes], data[len(data)-tagBytes:]
		}
		return reply{Data: data, Tag: tag}, nil
	case "decrypt":
		builder := connection.Decrypt(asked.ID).WithCryptographicParameters(parameters).WithIvCounterNonce(asked.IV)
		data := []byte(asked.Data)
		if hasTagField {
			builder = builder.WithAuthTag(asked.Tag)
		} else {
			data = append(data, asked.Tag...)
		}
		opened, err := builder.Data(data).Exec()
		if err != nil {
			return reply{}, err
		}
		return reply{Data: opened.Data}, nil
	default:
		return reply{}, errors.New("nothing to do")
	}
}
