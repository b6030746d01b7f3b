"""Our definition of the Workload API is the standard's and nothing more: compared with another implementation's."""

from __future__ import annotations

import subprocess
import sys

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from sds._pb.spiffe.workload import workload_pb2

OURS = FileDescriptorProto.FromString(workload_pb2.DESCRIPTOR.serialized_pb)
TELL = """
import sys
from spiffe._proto import workload_pb2
sys.stdout.buffer.write(workload_pb2.DESCRIPTOR.serialized_pb)
"""


@pytest.fixture(scope="module")
def theirs() -> FileDescriptorProto:
    """Of a client library. In a process of its own: two definitions of one name cannot be in one pool."""
    return FileDescriptorProto.FromString(
        subprocess.run([sys.executable, "-c", TELL], capture_output=True, check=True).stdout
    )


def methods(file: FileDescriptorProto) -> dict[str, tuple[str, str, bool, bool]]:
    (service,) = file.service
    assert (file.package, service.name) == ("", "SpiffeWorkloadAPI")
    return {
        each.name: (each.input_type, each.output_type, each.client_streaming, each.server_streaming)
        for each in service.method
    }


def shape(field: FieldDescriptorProto) -> tuple[int, int, int, str]:
    return field.number, field.type, field.label, field.type_name


def fields(message: DescriptorProto) -> dict[str, tuple[int, int, int, str]]:
    nested = {f"{each.name}.{name}": one for each in message.nested_type for name, one in fields(each).items()}
    return nested | {field.name: shape(field) for field in message.field}


def messages(file: FileDescriptorProto) -> dict[str, dict[str, tuple[int, int, int, str]]]:
    return {message.name: fields(message) for message in file.message_type}


def test_the_service_is_the_standards_and_is_not_extended(theirs: FileDescriptorProto) -> None:
    """Workload API 2, Workload Endpoint 7."""
    assert methods(OURS) == methods(theirs)
    assert len(methods(OURS)) == 5


def test_messages_have_the_standards_fields_and_no_others(theirs: FileDescriptorProto) -> None:
    """By name, number, type and whether they repeat."""
    assert messages(OURS) == messages(theirs)
    assert messages(OURS)["X509SVID"]["hint"][0] == 5
