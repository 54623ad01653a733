with

final as (

    select
        model_id,
        worst_feature,
        problems,
        cast(outside_ratio as double) as outside_ratio,
        cast(missing_ratio as double) as missing_ratio,
        cast(clients_outside_ratio as double) as clients_outside_ratio,
        cast(worst_feature_ratio as double) as worst_feature_ratio,
        cast(model_age_days as bigint) as model_age_days,
        cast(values_count as bigint) as values_count,
        cast(clients_outside_count as bigint) as clients_outside_count,
        cast(clients_touched_count as bigint) as clients_touched_count,
        cast(as_of_date as date) as as_of_date
    from {{ source('scores', 'input_support') }}

)

select * from final
