-- Nothing is lost and nothing is counted twice, for every entity and delivery.
select *
from {{ ref('row_balance') }}
where rows_in <> rows_kept + rows_quarantined
