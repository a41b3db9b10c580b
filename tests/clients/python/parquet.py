"""pandas and PyArrow reading and writing Parquet through adlfs, unmodified, through the proxy.

Run by tests/clients/main.rs under `atrest with`.
"""

import os

import pandas
import pyarrow.dataset
from adlfs import AzureBlobFileSystem
from pandas.testing import assert_frame_equal

connection = os.environ["AZURE_STORAGE_CONNECTION_STRING"]
options = {"connection_string": connection}
people = pandas.DataFrame(
    {"id": range(200_000), "team": [f"team {n % 7}" for n in range(200_000)], "paid": [n / 7 for n in range(200_000)]}
)


def one_file():
    people.to_parquet("abfs://default/people.parquet", storage_options=options, row_group_size=20_000)
    read = pandas.read_parquet("abfs://default/people.parquet", storage_options=options)
    assert_frame_equal(read, people)


def only_what_is_asked_for():
    few = pandas.read_parquet(
        "abfs://default/people.parquet",
        columns=["paid"],
        filters=[("id", ">=", 150_000)],
        storage_options=options,
    )
    assert_frame_equal(few, people.loc[people["id"] >= 150_000, ["paid"]].reset_index(drop=True))


def a_directory_of_parts():
    people.to_parquet("abfs://default/by-team", partition_cols=["team"], storage_options=options)
    fs = AzureBlobFileSystem(**options)
    found = pyarrow.dataset.dataset("default/by-team", filesystem=fs, partitioning="hive")
    assert len(found.files) == 7 and found.count_rows() == len(people)
    third = found.to_table(filter=pyarrow.dataset.field("team") == "team 3")
    assert third.num_rows == (people["team"] == "team 3").sum()


one_file()
print("one_file ok")
only_what_is_asked_for()
print("only_what_is_asked_for ok")
a_directory_of_parts()
print("a_directory_of_parts ok")
