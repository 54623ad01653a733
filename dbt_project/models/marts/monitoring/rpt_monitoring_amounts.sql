with

final as (

    select
        currency,
        model_id,
        status,
        cast(level_log10 as double) as level_log10,
        cast(reference_level_log10 as double) as reference_level_log10,
        cast(shift_log10 as double) as shift_log10,
        cast(shift_sigma as double) as shift_sigma,
        cast(txn_count as bigint) as txn_count,
        cast(as_of_date as date) as as_of_date
    from {{ source('monitoring', 'amount_drift') }}
    where as_of_date in (select as_of_date from {{ source('intermediate', 'requested_weeks') }})

)

select * from final
