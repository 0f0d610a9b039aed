"""Result files of other programs: CSV, TSV, Parquet and exports of trackers -> results that `comparison` reads. No torch.

read_tables(paths)       one table of all rows, as text
results_of(table, spec)  one run per arm and pair, or the reason why the rows cannot be compared
"""

from resexp.result_files.chosen_rows import Columns, results_of
from resexp.result_files.data_frames import from_frame
from resexp.result_files.reading import EXTENSIONS, FileTable, Row, is_table, read_tables
