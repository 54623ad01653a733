with

final as (

    select
        score,
        model_id,
        status,
        cast(psi_value as double) as psi_value,
        cast(psi_noise as double) as psi_noise,
        cast(mean_score as double) as mean_score,
        cast(reference_mean_score as double) as reference_mean_score,
        cast(null_ratio as double) as null_ratio,
        cast(rows_count as bigint) as rows_count,
        cast(as_of_date as date) as as_of_date
    from {{ source('monitoring', 'score_drift') }}
    where as_of_date in (select as_of_date from {{ source('intermediate', 'requested_weeks') }})

)

select * from final
